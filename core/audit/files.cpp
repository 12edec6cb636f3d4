#include "core/audit/files.h"

#include "core/base/error.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace volseal::audit {

namespace {

constexpr std::string_view closed_prefix = "audit.log.";
constexpr std::size_t number_digits = 6;

std::optional<std::uint64_t> number_in_name(std::string_view name) {
  if (!name.starts_with(closed_prefix)) return std::nullopt;
  name.remove_prefix(closed_prefix.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size() || number == 0) return std::nullopt;
  // One name for each number.
  if (fmt::format("{:06}", number) != name) return std::nullopt;
  return number;
}

std::optional<UniqueFd> open_if_any(const Path& path) {
  try {
    return open_file(path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
  } catch (const Error& error) {
    if (error.code() == Code::not_found) return std::nullopt;
    throw;
  }
}

bool same_file(int one, int other) {
  struct stat a{};
  struct stat b{};
  return ::fstat(one, &a) == 0 && ::fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

}  // namespace

Path folder_of(const Path& log) {
  return (log.has_parent_path() ? log.parent_path() : Path(".")) / "audit";
}

Path closed_file(const Path& log, std::uint64_t number) {
  static_assert(number_digits == 6, "as the format below");
  return folder_of(log) / fmt::format("{}{:06}", closed_prefix, number);
}

std::vector<std::uint64_t> closed_files(const Path& log) {
  std::vector<std::uint64_t> numbers;
  std::error_code failed;
  for (std::filesystem::directory_iterator at(folder_of(log), failed), end; !failed && at != end;
       at.increment(failed)) {
    if (const auto number = number_in_name(at->path().filename().native()))
      numbers.push_back(*number);
  }
  if (failed && failed != std::errc::no_such_file_or_directory)
    throw_errno(failed.value(), "list {}", folder_of(log).native());
  std::ranges::sort(numbers);
  return numbers;
}

Snapshot list_files(const Path& log) {
  Snapshot result;
  std::uint64_t last = 0;
  for (const std::uint64_t number : closed_files(log)) {
    const Path path = closed_file(log, number);
    result.files.push_back({.path = path, .number = number, .size = size_of(path)});
    last = number;
  }
  if (auto open = open_if_any(log)) {
    const std::uint64_t size = size_of(open->get(), log);
    result.files.push_back({.path = log, .number = last + 1, .fd = std::move(open), .size = size});
    result.has_open = true;
  }
  return result;
}

Snapshot snapshot(const Path& log) {
  // The lock of the open file keeps it from being closed while the others are listed.
  for (;;) {
    const auto open = open_if_any(log);
    if (open && ::flock(open->get(), LOCK_SH) != 0) throw_errno(errno, "lock {}", log.native());
    Snapshot result = list_files(log);
    // It was closed while we waited, or begun while we looked.
    if (!open && result.has_open) continue;
    if (open && !result.files.empty()) {
      const auto& newest = result.files.back().fd;
      if (newest && !same_file(open->get(), newest->get())) continue;
    }
    if (result.files.empty())
      throw Error(Code::not_found, "open {}: there is no log", log.native());
    return result;
  }
}

}  // namespace volseal::audit
