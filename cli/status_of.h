// What `volseal status` shows of this machine.
#pragma once

#include "cli/verb.h"
#include "core/status/status.h"
#include "core/unlock/boot_report.h"

#include <optional>
#include <string>

namespace volseal {

struct SeenStatus {
  Status status;
  std::optional<BootReport> boot;
};

// A quick look: a device that does not answer within a second is not waited for, nothing is
// claimed, the TPM is asked for less than a second in all, and of the audit log only the end is
// read. What cannot be looked at is in Status::problems. Throws Error{bad_policy}.
SeenStatus look_at_status(const Options& options);

// What verify-next-boot found, for `status` to show: STATE/next-boot.json.
void note_next_boot(const Path& state, const Path& initramfs, bool good,
                    const std::string& problem);

}  // namespace volseal
