// A group whose secret nothing opens any more, and the same group begun anew.
//
// Locked down, all approvals are void by the TPM's counter, and nobody can sign new ones or unseal
// the late copy: their keys are overwritten (destroy_keys). The object stays in the
// tokens and opens for nobody but who has kept a copy of the policy key or of the late copy's
// files, and then gives a secret whose keyslots are gone (docs/lock.md).
#pragma once

#include "tpm/connection.h"
#include "tpm/state.h"

#include <string_view>

namespace volseal::tpm {

// Overwrites and removes what opens the sealed secret: policy keys, late copy. Every cut leaves
// something to repeat, and a repetition finds nothing to do. What an SSD, or a file system that
// writes elsewhere, keeps of it, nobody can say.
void destroy_keys(const GroupState& state);

// Counts up until every approval is void, also one that was begun for the counter's next value.
// Returns how often. Repeatable. Throws Error{not_found} where there is no such group,
// Error{tpm_refused, no_tpm, tpm_failed}.
int void_approvals(Connection& tpm, const GroupState& state);

// The group begins anew with the next open_or_create_group(), with another counter: so that no
// approval of the old one is ever taken for one of the new. The old counter is removed, the folder
// renamed out of the way; its new name. Nothing is done, and "" returned, where the master copy is
// not the one of that SHA-256 any more: so a cut in between is repeated, and no new group is lost.
Path begin_anew(Connection& tpm, const GroupState& state, std::string_view sealed_sha256);

}  // namespace volseal::tpm
