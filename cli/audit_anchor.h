// Where checkpoints go so that who changes the log here does not change them too.
#pragma once

#include "cli/verb.h"

namespace volseal {

// Hands the newest checkpoint to the command of the policy, where that has not acknowledged it yet.
// False where it did not.
bool hand_out_checkpoint(const Options& options);

}  // namespace volseal
