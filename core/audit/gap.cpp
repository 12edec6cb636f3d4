#include "core/audit/gap.h"

#include "core/audit/record.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace volseal::audit {

namespace {

constexpr std::size_t most_of_gap = 256U << 10U;

// Locked, and still the file of that name.
std::optional<UniqueFd> open_gap(const Path& file, int flags) {
  for (;;) {
    UniqueFd fd = open_file(file, flags | O_NOFOLLOW | O_NOCTTY, 0600);
    if (::flock(fd.get(), LOCK_EX) != 0) throw_errno(errno, "lock {}", file.native());
    struct stat status{};
    if (::fstat(fd.get(), &status) == 0 && status.st_nlink > 0) return fd;
    if ((flags & O_CREAT) == 0) return std::nullopt;
  }
}

}  // namespace

void note_lost(const Path& file, std::span<const Event> events) noexcept {
  if (file.empty()) return;
  try {
    make_folder(file.parent_path());
    const auto fd = open_gap(file, O_RDWR | O_APPEND | O_CREAT);
    if (!fd || size_of(fd->get(), file) > most_of_gap) return;
    std::string text;
    for (const Event& event : events) {
      text += fmt::format("{} {} {}\n", utc_now(), escaped(event.action, 64),
                          escaped(event.outcome, 64));
    }
    write_all(fd->get(), text, file.native());
  } catch (const std::exception& error) {
    log::warning("what the audit log has no room for is not even counted: {}", error.what());
  }
}

std::optional<Lost> Lost::take(const Path& file) {
  std::error_code ignored;
  if (file.empty() || !std::filesystem::exists(file, ignored)) return std::nullopt;
  try {
    auto fd = open_gap(file, O_RDONLY);
    if (!fd) return std::nullopt;
    std::string text = read_file(file, 2 * most_of_gap);
    return Lost(file, *std::move(fd), std::move(text));
  } catch (const Error& error) {
    log::warning("what the audit log had no room for is not known: {}", error.what());
    return std::nullopt;
  }
}

Event Lost::event() const {
  Event event{.action = std::string(gap), .outcome = "lost"};
  event.detail["count"] = std::to_string(std::ranges::count(text_, '\n'));
  const auto word = [&](std::size_t at) { return text_.substr(at, text_.find(' ', at) - at); };
  event.detail["first"] = word(0);
  const auto end = text_.size() < 2 ? std::string::npos : text_.rfind('\n', text_.size() - 2);
  event.detail["last"] = word(end == std::string::npos ? 0 : end + 1);
  event.detail["events"] = text_;
  event.detail["summary"] =
      fmt::format("{} events were not recorded, the disk was full: {} to {}", event.detail["count"],
                  event.detail["first"], event.detail["last"]);
  return event;
}

void Lost::settle() const {
  std::error_code ignored;
  std::filesystem::remove(file_, ignored);
}

}  // namespace volseal::audit
