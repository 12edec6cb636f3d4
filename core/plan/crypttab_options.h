// The options of a volume's line in crypttab(5).
#pragma once

#include "core/device/device.h"
#include "core/policy/policy.h"

#include <string>

namespace volseal {

// The policy's crypttab_options, with or without discard, no-read-workqueue and no-write-workqueue
// as policy, rule and disks want it. Debian's cryptsetup (2.6.1) and systemd (252) both know these
// names.
std::string crypttab_options(const DeviceGraph& graph, DeviceIndex at, const Policy& policy,
                             const Rule* rule);

}  // namespace volseal
