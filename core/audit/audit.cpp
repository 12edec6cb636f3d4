#include "core/audit/audit.h"

#include "core/audit/journal.h"
#include "core/audit/record.h"
#include "core/base/clock.h"
#include "core/base/digest.h"
#include "core/base/error.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <utility>

namespace volseal {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t room_to_spare = 64U << 10U;
constexpr std::size_t tail_size = 1U << 20U;

// The end of the log as the next line must follow it.
struct Tail {
  std::uint64_t seq = 0;  // of the last event
  std::string prev{audit::no_prev};
  bool torn = false;
  std::string why;  // why the last line is no event; "" where it is one
};

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

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

Tail tail_of(int fd, std::uint64_t size, const Path& path) {
  Tail tail;
  if (size == 0) return tail;
  const std::uint64_t start = size - std::min<std::uint64_t>(size, tail_size);
  std::string text(static_cast<std::size_t>(size - start), '\0');
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t got =
        ::pread(fd, text.data() + done, text.size() - done, static_cast<off_t>(start + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read {}", path.native());
    if (got == 0) throw Error(Code::io, "read {}: it became shorter", path.native());
    done += static_cast<std::size_t>(got);
  }
  std::string_view rest = text;
  tail.torn = !rest.ends_with('\n');
  if (!tail.torn) rest.remove_suffix(1);
  bool last = true;
  // From the end, line by line, to the first that is an event: its number goes on.
  for (;;) {
    const auto newline = rest.rfind('\n');
    if (newline == std::string_view::npos && start != 0 && last) {
      throw Error(Code::damaged, "read {}: its last line is longer than 1 MiB; move the file aside",
                  path.native());
    }
    const std::string_view line =
        newline == std::string_view::npos ? rest : rest.substr(newline + 1);
    const auto record = audit::from_line(line);
    if (last) {
      tail.prev = sha256_hex(line);
      if (!record) tail.why = tail.torn ? "the last line was cut off" : "the last line is no event";
      last = false;
    }
    if (record) {
      tail.seq = record->seq;
      // Everything of the event is there but its newline: only that was lost.
      return tail;
    }
    if (newline == std::string_view::npos) return tail;
    rest = rest.substr(0, newline);
  }
}

// Keeps room behind the end of the file, without making it longer.
bool reserve(int fd, const struct stat& status, std::size_t bytes, const Path& path) {
  const auto allocated = static_cast<std::uint64_t>(status.st_blocks) * 512;
  if (allocated >= static_cast<std::uint64_t>(status.st_size) + bytes) return true;
  if (::fallocate(fd, FALLOC_FL_KEEP_SIZE, status.st_size, static_cast<off_t>(bytes)) == 0)
    return true;
  if (errno == ENOSPC || errno == EDQUOT) return false;
  // A file system that cannot keep room, or a log that only may be appended to.
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EPERM || errno == EINTR) return true;
  throw_errno(errno, "reserve room in {}", path.native());
}

void append(int fd, std::uint64_t old_size, std::string_view text, const Path& path) {
  try {
    // Not write_all: two writes could be two halves of a line, with a power cut between.
    ssize_t put = 0;
    do {
      put = ::write(fd, text.data(), text.size());
    } while (put < 0 && errno == EINTR);
    if (put < 0) throw_errno(errno, "write {}", path.native());
    if (static_cast<std::size_t>(put) != text.size())
      throw_errno(ENOSPC, "write {}", path.native());
    sync_fd(fd, path.native());
  } catch (const Error&) {
    // Half a line would only be closed as torn by the next writer; so this may fail.
    [[maybe_unused]] const int undone = ::ftruncate(fd, static_cast<off_t>(old_size));
    throw;
  }
}

}  // namespace

AuditLog::AuditLog(Path path, std::string_view verb)
    : path_(std::move(path)), actor_(this_actor(verb)) {}

void AuditLog::record(const Event& event) const {
  record_all({&event, 1});
}

void AuditLog::record_all(std::span<const Event> events) const {
  if (events.empty()) return;
  std::vector<AuditRecord> records;
  const auto add = [&](const Event& event) {
    records.push_back({.time = utc_now(),
                       .boot_ms = since_boot().count(),
                       .boot_id = boot_id(),
                       .host = host_name(),
                       .who = actor_,
                       .event = event});
  };
  for (const Event& event : events) add(event);
  try {
    const UniqueFd fd = open_locked(path_);
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) throw_errno(errno, "look at {}", path_.native());
    const auto size = static_cast<std::uint64_t>(status.st_size);
    Tail tail = tail_of(fd.get(), size, path_);
    if (tail.torn || !tail.why.empty()) {
      add({.action = std::string(audit::recovered),
           .detail = {{"why", tail.why.empty() ? "only the newline of the last line was lost"
                                               : tail.why}}});
      std::ranges::rotate(records, records.end() - 1);
    }
    std::string text = tail.torn ? "\n" : "";
    bool starts = false;
    for (AuditRecord& record : records) {
      record.seq = ++tail.seq;
      record.prev = tail.prev;
      const std::string line = audit::to_line(record);
      tail.prev = sha256_hex(line);
      text += line;
      text += '\n';
      starts = starts || record.event.outcome == audit_started;
    }
    if (starts && !reserve(fd.get(), status, text.size() + room_to_spare, path_)) {
      throw Error(Code::no_space, "keep room in {}: the file system is full", path_.native());
    }
    append(fd.get(), size, text, path_);
  } catch (...) {
    for (const AuditRecord& record : records) audit::send_to_journal(record, false);
    throw;
  }
  for (const AuditRecord& record : records) audit::send_to_journal(record, true);
}

}  // namespace volseal
