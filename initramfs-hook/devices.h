// Where the wanted volumes are: udev's word by UUID, waited for. What is really on a device is
// checked when it is opened.
#pragma once

#include "core/unlock/boot_list.h"

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace volseal {

// LUKS UUID → nodes that claim to be it. Several: somebody made a copy, and the check tells which
// one is ours.
using Nodes = std::map<std::string, std::vector<Path>>;

struct WaitLimits {
  std::chrono::seconds needed{30};  // for root, usr and boot
  std::chrono::seconds data{10};    // for the rest; those with `nofail` are not waited for
};

// Returns as soon as every volume is there, else when the time is over. Throws Error{io} where udev
// cannot be asked.
Nodes wait_for_volumes(const BootList& list, const WaitLimits& limits);

}  // namespace volseal
