// Asking root's service, by who is not root.
#pragma once

#include <optional>
#include <string>

namespace volseal {

// Asks at every socket that this process may connect to whether it opens the volume, and tells;
// the exit status. Nothing where there is no such socket.
std::optional<int> ask_to_unlock(const std::string& volume, bool json);

}  // namespace volseal
