// The names that devices have in /dev.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <vector>

namespace volseal {

// Fills in `path` and `links` of every device. Links are symbolic links below /dev that lead to the
// device's node; names are always written as below "/dev", wherever `dev` is.
void name_devices(std::vector<Device>& devices, const Path& dev);

// Where the node of a device lies, below `dev`.
Path node_of(const Device& device, const Path& dev);

}  // namespace volseal
