// Who has a device.
#pragma once

#include "core/device/device.h"

#include <string>

namespace volseal {

// Why it is not free: "it is open as /dev/mapper/data", "it is mounted at /srv", "it is in use:
// ..."; safe to print. "" where nobody has it.
std::string use_of(const DeviceGraph& graph, DeviceIndex at);

}  // namespace volseal
