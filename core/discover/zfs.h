// ZFS datasets, by zfs(8): the module has no other way to tell what is encrypted.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <string_view>
#include <vector>

namespace volseal {

// Empty where the module is not loaded, or zfs(8) is not there or does not answer in time.
std::vector<Dataset> read_datasets(const Path& sys);

// What `zfs list -H -o name,encryption,mounted,mountpoint` prints; lines of another form are left
// out.
std::vector<Dataset> parse_datasets(std::string_view text);

}  // namespace volseal
