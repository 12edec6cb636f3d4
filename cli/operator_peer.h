// Who asks at the socket: the kernel's word, and the machine's list of groups.
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace volseal {

struct OperatorPeer {
  std::int64_t pid = 0;
  std::uint32_t uid = 0;
  std::string user;  // "" where nobody has that number
  // Unix groups that the process had when it connected and that its user is in now: who was taken
  // out of a group loses it at once, and a process that gave one up does not get it back.
  std::set<std::string> unix_groups;
};

// Of a connected AF_UNIX socket (SO_PEERCRED, SO_PEERGROUPS). Throws Error by errno.
OperatorPeer peer_of(int socket);

// Those of this process, by name.
std::set<std::string> own_unix_groups();

}  // namespace volseal
