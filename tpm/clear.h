// The end of a group: its secret opens nothing any more, and is nowhere.
#pragma once

#include "core/base/file.h"
#include "tpm/connection.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace volseal::tpm {

struct CounterEnd {
  std::optional<std::uint32_t> index;  // nothing: the group never had one
  // "removed"; "none" where it was gone; "left": what has that index now is somebody else's
  std::string what = "none";
};

// Counts the revocation counter up, so that what was sealed under it stays void even where a
// counter of that index is made anew, and removes it. Repeatable after a cut. The sealed objects
// lie in files and tokens, not in the TPM; the storage root key, which others use too, stays.
// Throws Error{tpm_refused, tpm_failed, io ...}.
CounterEnd end_counter(Connection& tpm, const Path& state, const std::string& group);

// The same without a TPM, which is gone: its index only.
CounterEnd unreachable_counter(const Path& state, const std::string& group);

// Overwrites and removes everything of STATE/groups/NAME (sealed secret, late copy and its auth
// value, policy key, approvals), and what `tpm forget` has set aside of that group before; the
// folders come back. The counter's index goes last, so that a cut leaves it to be removed.
std::vector<std::string> destroy_group_files(const Path& state, const std::string& group);

}  // namespace volseal::tpm
