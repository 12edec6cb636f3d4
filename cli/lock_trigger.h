// Locking by policy: what was found or tried, and what [group.NAME] wants done about it.
#pragma once

#include "cli/verb.h"
#include "core/base/file.h"
#include "core/unlock/unlocker.h"

#include <span>
#include <string>

namespace volseal {

// After attempts were recorded in the audit log: a header that is not the one that was bound is a
// sign of tampering (on_tamper), wrong keys and PINs are counted (lock_after). To be called once
// nothing in this process holds the TPM. Never throws: what cannot be done is said.
void follow_attempts(const Options& options, std::span<const Attempt> attempts);

// Where the watch leaves the reason for `volseal lock --by-policy GROUP`; memory of this boot.
Path lock_reason_place(const std::string& group);

// A sign of tampering with one group: on_tamper. `reason`: one sentence, as it was found.
void follow_tampering(const Options& options, const std::string& group, const std::string& reason);

}  // namespace volseal
