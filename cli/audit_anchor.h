// Where checkpoints go so that who changes the log here does not change them too: into the TPM, and
// to a command.
#pragma once

#include "cli/verb.h"
#include "core/audit/expected.h"

#include <optional>
#include <string>

namespace volseal {

// Hands the newest checkpoint to the command of the policy, where that has not acknowledged it yet.
// False where it did not.
bool hand_out_checkpoint(const Options& options);

struct AnchorOptions {
  bool now = false;  // however long ago the last write was, as at shutdown
  // Why what the TPM holds is given up and a new index made: recorded. Nothing: it is not.
  std::optional<std::string> renew;
};

// Puts the newest checkpoint into the TPM: where the policy and the TPM allow it, at most every 50
// minutes and 24 times a day. False where it should be there and could not be put there.
bool anchor_checkpoint(const AnchorOptions& how, const Options& options);

// What the TPM says of the log.
struct TpmWord {
  std::string state = "none";  // "held", "gone", "replaced", "unreachable"; "none": never asked to
  std::string why;             // of "unreachable"
  std::optional<audit::Anchored> anchored;
};
TpmWord tpm_word(const Options& options);

}  // namespace volseal
