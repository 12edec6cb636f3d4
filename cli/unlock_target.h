// What a volume is called once it is open, and how it is opened.
#pragma once

#include "core/unlock/unlocker.h"

#include <string>

namespace volseal {

// `name`, else that of the line of crypttab which names the volume, else luks-UUID as systemd and
// udisks do; with that line's options. Throws as Volume::load().
UnlockTarget unlock_target(const std::string& volume, const std::string& name);

}  // namespace volseal
