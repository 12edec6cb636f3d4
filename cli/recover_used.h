// volseal recover --used: the recovery keys that a person typed into this boot's initramfs,
// replaced.
#pragma once

#include "cli/replace_key.h"
#include "cli/verb.h"
#include "core/unlock/unlocker.h"

namespace volseal {

// Whether it opened with a recovery key that was not replaced since.
bool key_stays(const Attempt& attempt);

// Needs neither the key again nor anybody, where the TPM (or the late copy) opens the volume now
// and the group's recovery keys go to escrow. What cannot be replaced is said, with the command
// that does it, and the exit status is `warnings`.
int replace_used(const NewKeyTo& new_key, const Session& session);

}  // namespace volseal
