#include "cli/kernel_keys.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <sstream>
#include <string_view>

namespace volseal {

namespace {

// A line of /proc/keys: serial, flags, usage, time-out, permissions, uid, gid, type, "DESCRIPTION:
// SUMMARY" (keyrings(7)).
struct KernelKey {
  std::int32_t serial = 0;
  std::string type;
  std::string description;
};

KernelKey parse_key(const std::string& line) {
  std::istringstream words(line);
  std::string serial;
  std::string skipped;
  KernelKey key;
  words >> serial;
  for (int i = 0; i < 6; ++i) words >> skipped;
  words >> key.type;
  std::getline(words >> std::ws, key.description);
  key.description.resize(std::min(key.description.find(": "), key.description.size()));
  std::uint32_t number = 0;
  std::from_chars(serial.data(), serial.data() + serial.size(), number, 16);
  key.serial = static_cast<std::int32_t>(number);
  return key;
}

bool is_cached(const KernelKey& key, const std::set<std::string>& uuids) {
  if (key.type != "user" && key.type != "logon") return false;
  constexpr std::string_view mine = "cryptsetup";
  if (key.description == mine) return true;
  return std::ranges::any_of(uuids, [&](const std::string& uuid) {
    return key.description.starts_with(std::string(mine) + ":" + uuid);
  });
}

bool drop(std::int32_t serial) {
  return ::syscall(SYS_keyctl, KEYCTL_INVALIDATE, serial) == 0 ||
         ::syscall(SYS_keyctl, KEYCTL_REVOKE, serial) == 0;
}

}  // namespace

int drop_cached_keys(const std::set<std::string>& luks_uuids) {
  std::string text;
  try {
    text = read_file_if_any("/proc/keys").value_or("");
  } catch (const Error&) {
    return 0;
  }
  int dropped = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const KernelKey key = parse_key(line);
    if (is_cached(key, luks_uuids) && drop(key.serial)) ++dropped;
  }
  return dropped;
}

}  // namespace volseal
