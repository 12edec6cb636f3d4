// Which device a line of crypttab means.
#pragma once

#include "core/device/device.h"

#include <optional>
#include <string>

namespace volseal {

// The UUID in UUID=... or /dev/disk/by-uuid/...; nothing for other ways to name a device.
std::optional<std::string> uuid_in(const std::string& source);
bool is_source_of(const std::string& source, const Device& device);
// The volume has a volseal-tpm2 token.
bool has_group_token(const Device& device);

}  // namespace volseal
