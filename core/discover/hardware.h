// What the kernel alone can say of a device, by ioctl.
#pragma once

#include "core/discover/probe.h"

#include <optional>
#include <string>

namespace volseal {

// As Device::opal. `fd`: of a whole disk.
std::string opal_of(int fd);

// The file system that holds a loop device's file; nothing for what is no loop device. A path would
// only say where a file of that name lies now.
std::optional<DeviceNumber> file_system_below(int fd);

}  // namespace volseal
