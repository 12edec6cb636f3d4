// What happened before this system ran, into its log.
#pragma once

#include "cli/verb.h"

namespace volseal {

// Once a boot: the attempts that volseal-unlock made in the initramfs become events of the audit
// log. A mark beside the report says that it was done; a power cut in between repeats them. Where
// they cannot be recorded yet, a warning, and the next verb tries again. Never throws.
void log_boot(const Session& session);

}  // namespace volseal
