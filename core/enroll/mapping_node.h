// Our own short-lived device-mapper devices, which udev is told to leave alone.
#pragma once

#include "core/base/file.h"

#include <string>

namespace volseal {

// Nothing happens where there is none of that name. Throws Error{program_failed}.
void remove_mapping(const std::string& name);
// By the kernel's name: without udev's rules there is no other node.
Path node_of_mapping(const std::string& name);

}  // namespace volseal
