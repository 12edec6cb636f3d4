#include "core/audit/locked_log.h"

#include "core/audit/checkpoint.h"
#include "core/audit/lines.h"
#include "core/audit/rotation.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <utility>

namespace volseal::audit {

namespace {

using namespace std::chrono_literals;

// What clocks that are only disciplined, and writers that waited for each other, may differ by.
constexpr std::chrono::milliseconds clock_slack = 2s;

UniqueFd open_log(const Path& path) {
  if (path.has_parent_path()) make_folder(path.parent_path());
  constexpr int flags = O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NOCTTY;
  UniqueFd fd = open_file(path, flags, 0600);
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) throw_errno(errno, "look at {}", path.native());
  if (!S_ISREG(status.st_mode))
    throw Error(Code::unsafe, "open {}: not an ordinary file", path.native());
  if (status.st_size == 0) sync_folder(path.has_parent_path() ? path.parent_path() : Path("."));
  return fd;
}

void lock(int fd, const Path& path) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) throw_errno(errno, "lock {}", path.native());
    // A writer that was stopped in the middle must not stop everybody for good.
    if (std::chrono::steady_clock::now() > deadline) {
      throw Error(Code::busy, "lock {}: another process has held it for 10 seconds", path.native());
    }
    const timespec pause{.tv_sec = 0, .tv_nsec = 2'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

// Locked and still the file of that name: a log that was moved aside while we waited is another's.
UniqueFd open_locked(const Path& path) {
  for (;;) {
    UniqueFd fd = open_log(path);
    lock(fd.get(), path);
    struct stat mine{};
    struct stat named{};
    if (::fstat(fd.get(), &mine) == 0 && ::stat(path.c_str(), &named) == 0 &&
        mine.st_dev == named.st_dev && mine.st_ino == named.st_ino) {
      return fd;
    }
  }
}

// By how much the wall clock was set back since `last`; zero or less: it was not. Within one boot
// the boot clock says how much time has passed; over a restart, time cannot have run backwards.
std::chrono::milliseconds set_back_by(const AuditRecord& last) {
  const auto then = parse_time(last.time);
  const auto now = parse_time(utc_now());
  if (!then || !now) return 0ms;
  auto passed = 0ms;
  if (last.boot_id == boot_id()) passed = since_boot() - std::chrono::milliseconds(last.boot_ms);
  return *then + passed - *now - clock_slack;
}

}  // namespace

LockedLog::LockedLog(Path path, UniqueFd fd, std::uint64_t size)
    : path_(std::move(path)), fd_(std::move(fd)), size_(size) {}

LockedLog LockedLog::open(const AuditPlace& place) {
  for (bool may_close = true;;) {
    UniqueFd fd = open_locked(place.log);
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) throw_errno(errno, "look at {}", place.log.native());
    LockedLog log(place.log, std::move(fd), static_cast<std::uint64_t>(status.st_size));
    log.allocated_ = static_cast<std::uint64_t>(status.st_blocks) * 512;
    log.tail_ = tail_of(log.fd_.get(), log.size_, log.path_);
    const bool whole = !log.tail_.torn && log.tail_.why.empty();
    if (may_close && whole && place.rules.rotate_at != 0 && log.size_ >= place.rules.rotate_at) {
      // Once only: where it cannot be closed it goes on to grow.
      may_close = false;
      try {
        log.close_file();
        continue;
      } catch (const Error& error) {
        log::warning("the audit log grows beyond its size: {}", error.what());
      }
    }
    if (!whole) {
      log.first_.push_back(
          {.action = std::string(recovered),
           .detail = {{"why", log.tail_.why.empty() ? "only the newline of the last line was lost"
                                                    : log.tail_.why}}});
    }
    if (log.size_ == 0) {
      if (const auto closed = closed_files(place.log); !closed.empty())
        log.follow_closed_file(closed.back());
    }
    log.look_at_clock();
    return log;
  }
}

// A cut between these steps leaves no audit.log, and the next writer begins one as if it had closed
// the file itself.
void LockedLog::close_file() const {
  const auto closed = closed_files(path_);
  const Path target = closed_file(path_, closed.empty() ? 1 : closed.back() + 1);
  make_folder(target.parent_path());
  sync_fd(fd_.get(), path_.native());
  // Lines that were kept room for behind the end are not coming any more.
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0)
    throw_errno(errno, "give back room of {}", path_.native());
  if (::rename(path_.c_str(), target.c_str()) != 0)
    throw_errno(errno, "rename {} to {}", path_.native(), target.native());
  sync_folder(target.parent_path());
  sync_folder(path_.has_parent_path() ? path_.parent_path() : Path("."));
}

void LockedLog::follow_closed_file(std::uint64_t number) {
  const Path path = closed_file(path_, number);
  const UniqueFd fd = open_file(path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
  const std::uint64_t size = size_of(fd.get(), path);
  tail_ = tail_of(fd.get(), size, path);
  // It was ended before it was closed.
  tail_.torn = false;
  Event event{.action = std::string(rotated)};
  try {
    Position position = tree_over(path_, files());
    Hasher hasher;
    event.detail = detail_of({.number = number,
                              .bytes = size,
                              .tree = std::move(position.tree),
                              .log = std::move(position.log)},
                             hasher);
  } catch (const Error& error) {
    // The log was tampered with, or cannot be read: no reason to record nothing from here on.
    log::warning("the audit log: {}", error.what());
    event.outcome = "failed";
    event.detail = {{"file", std::to_string(number)}, {"why", error.what()}};
  }
  first_.insert(first_.begin(), std::move(event));
}

void LockedLog::look_at_clock() {
  if (!tail_.last) return;
  const auto by = set_back_by(*tail_.last);
  if (by <= 0ms) return;
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(by + clock_slack).count();
  first_.push_back(
      {.action = std::string(clock_set_back),
       .outcome = "set_back",
       .detail = {{"last_event", tail_.last->time},
                  {"seconds", std::to_string(seconds)},
                  {"summary", fmt::format("the clock was set back by {} s", seconds)}}});
}

Snapshot LockedLog::files() const {
  return list_files(path_);
}

void LockedLog::reserve(std::size_t bytes) const {
  if (allocated_ >= size_ + bytes) return;
  if (::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(size_),
                  static_cast<off_t>(bytes)) == 0) {
    return;
  }
  if (errno == ENOSPC || errno == EDQUOT)
    throw Error(Code::no_space, "keep room in {}: the file system is full", path_.native());
  // A file system that cannot keep room, or a log that only may be appended to.
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EPERM || errno == EINTR) return;
  throw_errno(errno, "reserve room in {}", path_.native());
}

void LockedLog::append(std::string_view text, bool sync) const {
  try {
    // Not write_all: two writes could be two halves of a line, with a power cut between.
    ssize_t put = 0;
    do {
      put = ::write(fd_.get(), text.data(), text.size());
    } while (put < 0 && errno == EINTR);
    if (put < 0) throw_errno(errno, "write {}", path_.native());
    if (static_cast<std::size_t>(put) != text.size())
      throw_errno(ENOSPC, "write {}", path_.native());
    if (sync) sync_fd(fd_.get(), path_.native());
  } catch (const Error&) {
    // Half a line would only be closed as torn by the next writer; so this may fail.
    [[maybe_unused]] const int undone = ::ftruncate(fd_.get(), static_cast<off_t>(size_));
    throw;
  }
}

void LockedLog::write_checkpoint() const noexcept {
  try {
    audit::write_checkpoint(path_, files());
  } catch (const std::exception& error) {
    log::warning("the audit log has no new checkpoint: {}", error.what());
  }
}

}  // namespace volseal::audit
