#include "cli/device_users.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <set>
#include <sstream>

namespace volseal {

namespace {

// Processes end while they are looked at.
std::string text_in(const Path& file) {
  try {
    return read_file_if_any(file, 8U << 20U).value_or("");
  } catch (const Error&) {
    return "";
  }
}

std::string name_of(const Path& process) {
  std::string name = text_in(process / "comm");
  if (name.ends_with('\n')) name.pop_back();
  return fmt::format("process {} ({})", process.filename().native(), name);
}

bool has_open(const Path& process, dev_t device) {
  const auto is_it = [&](const Path& link) {
    struct stat status{};
    if (::stat(link.c_str(), &status) != 0) return false;
    return status.st_dev == device || (S_ISBLK(status.st_mode) && status.st_rdev == device);
  };
  if (is_it(process / "cwd") || is_it(process / "root")) return true;
  std::error_code error;
  for (std::filesystem::directory_iterator at(process / "fd", error), end; !error && at != end;
       at.increment(error)) {
    if (is_it(at->path())) return true;
  }
  return false;
}

// Where the mount table of that process has the device.
std::vector<std::string> mounts_in(const Path& process, const std::string& number) {
  std::vector<std::string> mounts;
  std::istringstream lines(text_in(process / "mountinfo"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id;
    std::string parent;
    std::string device;
    std::string root;
    std::string target;
    if (words >> id >> parent >> device >> root >> target && device == number)
      mounts.push_back(target);
  }
  return mounts;
}

std::string namespace_of(const Path& process) {
  std::error_code error;
  return std::filesystem::read_symlink(process / "ns/mnt", error).native();
}

}  // namespace

std::vector<std::string> users_of_device(std::uint32_t major, std::uint32_t minor,
                                         std::size_t most) {
  const dev_t device = makedev(major, minor);
  const std::string number = fmt::format("{}:{}", major, minor);
  std::set<std::string> namespaces = {namespace_of("/proc/1"), namespace_of("/proc/self")};
  std::vector<std::string> users;
  std::error_code error;
  for (std::filesystem::directory_iterator at("/proc", error), end; !error && at != end;
       at.increment(error)) {
    const Path& process = at->path();
    if (!std::ranges::all_of(process.filename().native(),
                             [](char c) { return c >= '0' && c <= '9'; })) {
      continue;
    }
    if (has_open(process, device)) users.push_back(name_of(process));
    if (!namespaces.insert(namespace_of(process)).second) continue;
    for (const std::string& mount : mounts_in(process, number)) {
      users.push_back(fmt::format("mounted at {} for {}, in a mount namespace of its own", mount,
                                  name_of(process)));
    }
  }
  if (users.size() > most) {
    users.resize(most);
    users.emplace_back("and more");
  }
  return users;
}

}  // namespace volseal
