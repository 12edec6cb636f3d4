// Who has a block device, or the file system on it: processes, and mounts that only other mount
// namespaces have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace volseal {

// "process 812 (postgres)", "mounted at /data for process 99 (init), in a mount namespace of its
// own"; at most `most`, then "and more". Not escaped. What cannot be read is left out.
std::vector<std::string> users_of_device(std::uint32_t major, std::uint32_t minor,
                                         std::size_t most = 8);

}  // namespace volseal
