#include "cli/operator_peer.h"

#include "core/base/error.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

namespace volseal {

namespace {

constexpr std::size_t name_buffer = 64U << 10U;
constexpr std::size_t most_groups = 65536;  // NGROUPS_MAX

std::optional<std::string> name_of_group(gid_t gid) {
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(name_buffer);
  if (::getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return std::nullopt;
  return std::string(entry.gr_name);
}

std::vector<gid_t> groups_of_peer(int socket) {
  std::vector<gid_t> groups(64);
  while (true) {
    auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0) {
      groups.resize(size / sizeof(gid_t));
      return groups;
    }
    if (errno != ERANGE || groups.size() >= most_groups)
      throw_errno(errno, "ask for the groups of who connected");
    groups.resize(size / sizeof(gid_t));
  }
}

// Of the user, by the machine's list; `user` gets the name.
std::vector<gid_t> listed_groups(uid_t uid, std::string& user) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(name_buffer);
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return {};
  user = entry.pw_name;
  std::vector<gid_t> groups(64);
  int count = static_cast<int>(groups.size());
  while (::getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &count) < 0) {
    if (groups.size() >= most_groups) return {};
    groups.resize(std::max(groups.size() * 2, static_cast<std::size_t>(count)));
    count = static_cast<int>(groups.size());
  }
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

std::set<std::string> names_of(const std::vector<gid_t>& groups) {
  std::set<std::string> names;
  for (const gid_t gid : groups) {
    if (auto name = name_of_group(gid)) names.insert(*std::move(name));
  }
  return names;
}

}  // namespace

OperatorPeer peer_of(int socket) {
  ucred who{};
  socklen_t size = sizeof(who);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
    throw_errno(errno, "ask who connected");
  OperatorPeer peer{.pid = who.pid, .uid = who.uid};
  std::vector<gid_t> had = groups_of_peer(socket);
  had.push_back(who.gid);
  std::vector<gid_t> both;
  for (const gid_t gid : listed_groups(who.uid, peer.user)) {
    if (std::ranges::find(had, gid) != had.end()) both.push_back(gid);
  }
  peer.unix_groups = names_of(both);
  return peer;
}

std::set<std::string> own_unix_groups() {
  const int count = ::getgroups(0, nullptr);
  std::vector<gid_t> groups(count > 0 ? static_cast<std::size_t>(count) : 0);
  if (count > 0 && ::getgroups(count, groups.data()) < 0) groups.clear();
  groups.push_back(::getegid());
  return names_of(groups);
}

}  // namespace volseal
