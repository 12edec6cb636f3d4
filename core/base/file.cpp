#include "core/base/file.h"

#include "core/base/error.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>

namespace volseal {

namespace {

constexpr std::size_t max_secret = 8U << 20U;

// Reads into `buffer` until end of file or until it is full.
std::size_t read_some(int fd, std::span<char> buffer, std::string_view what) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t got = ::read(fd, buffer.data() + done, buffer.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read {}", what);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

std::string read_bounded(int fd, const Path& path, std::size_t limit) {
  std::string content;
  std::array<char, 16384> chunk{};
  for (;;) {
    const std::size_t got = read_some(fd, chunk, path.native());
    if (content.size() + got > limit) {
      throw Error(Code::damaged, "read {}: larger than {} bytes", path.native(), limit);
    }
    content.append(chunk.data(), got);
    if (got < chunk.size()) return content;
  }
}

// Writes by way of a temporary file beside `path`. `keep`: owner and mode of the file that was
// there, and a symbolic link to it.
void replace_file(Path path, std::string_view content, mode_t mode, bool keep) {
  std::error_code no_target;
  if (keep && std::filesystem::is_symlink(path)) {
    if (Path target = std::filesystem::canonical(path, no_target); !no_target) {
      path = std::move(target);
    }
  }
  const Path folder = path.has_parent_path() ? path.parent_path() : Path(".");
  std::string temporary = (folder / ("." + path.filename().native() + ".XXXXXX")).native();
  const UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) throw_errno(errno, "create a file in {}", folder.native());
  bool kept = false;
  const Finally clean([&] {
    if (!kept) ::unlink(temporary.c_str());
  });
  struct stat old{};
  if (keep && ::stat(path.c_str(), &old) == 0) {
    mode = old.st_mode & 07777U;
    if (::fchown(fd.get(), old.st_uid, old.st_gid) != 0) throw_errno(errno, "chown {}", temporary);
  }
  if (::fchmod(fd.get(), mode) != 0) throw_errno(errno, "chmod {}", temporary);
  write_all(fd.get(), content, path.native());
  sync_fd(fd.get(), path.native());
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    throw_errno(errno, "rename to {}", path.native());
  kept = true;
  sync_folder(folder);
}

}  // namespace

std::uint64_t size_of(int fd, const Path& path) {
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) throw_errno(errno, "find the size of {}", path.native());
  return static_cast<std::uint64_t>(end);
}

std::uint64_t size_of(const Path& path) {
  return size_of(open_file(path, O_RDONLY).get(), path);
}

bool is_block_device(const Path& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
}

void require_unclaimed(const Path& device) {
  if (!is_block_device(device)) return;
  const UniqueFd fd(::open(device.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  if (!fd && errno == EBUSY) throw Error(Code::busy, "claim {}: it is in use", device.native());
  if (!fd) throw_errno(errno, "open {}", device.native());
}

UniqueFd open_file(const Path& path, int flags, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) throw_errno(errno, "open {}", path.native());
  return fd;
}

std::string read_file(const Path& path, std::size_t limit) {
  return read_bounded(open_file(path, O_RDONLY).get(), path, limit);
}

std::optional<std::string> read_file_if_any(const Path& path, std::size_t limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  if (!fd) throw_errno(errno, "open {}", path.native());
  return read_bounded(fd.get(), path, limit);
}

Secret read_secret_from(int fd, std::string_view what, bool raw) {
  // Grows by doubling; every outgrown buffer is a Secret too, so it is wiped.
  Secret buffer(4096);
  std::size_t size = 0;
  for (;;) {
    auto room = buffer.bytes().subspan(size);
    size += read_some(fd, {reinterpret_cast<char*>(room.data()), room.size()}, what);
    if (size > max_secret) throw Error(Code::usage, "read {}: larger than 8 MiB", what);
    if (size < buffer.size()) break;
    Secret larger(buffer.size() * 2);
    std::ranges::copy(buffer.bytes(), larger.bytes().begin());
    buffer = std::move(larger);
  }
  buffer.truncate(size);
  if (!raw && size > 0 && buffer.view().back() == '\n') buffer.truncate(size - 1);
  if (buffer.empty()) throw Error(Code::usage, "read {}: it is empty", what);
  return buffer;
}

Secret read_secret(const Path& path, bool raw) {
  if (path == "-") return read_secret_from(STDIN_FILENO, "standard input", raw);
  return read_secret_from(open_file(path, O_RDONLY).get(), path.native(), raw);
}

void write_file(const Path& path, std::string_view content, mode_t mode) {
  replace_file(path, content, mode, true);
}

void write_secret_file(const Path& path, const Secret& content) {
  replace_file(path, content.view(), 0600, false);
}

void write_all(int fd, std::string_view content, std::string_view what) {
  while (!content.empty()) {
    const ssize_t put = ::write(fd, content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_errno(errno, "write {}", what);
    if (put == 0) throw Error(Code::io, "write {}: nothing was taken", what);
    content.remove_prefix(static_cast<std::size_t>(put));
  }
}

void sync_fd(int fd, std::string_view what) {
  if (::fsync(fd) != 0) throw_errno(errno, "sync {}", what);
}

void sync_folder(const Path& folder) {
  const UniqueFd fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  // Some file systems cannot sync a folder and say so with EINVAL; they have nothing to lose there.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) throw_errno(errno, "sync {}", folder.native());
}

std::vector<Path> journals_in(const Path& folder) {
  std::vector<Path> journals;
  if (!std::filesystem::is_directory(folder)) return journals;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const Path& path = file.path();
    if (path.extension() == ".json" && !path.filename().native().starts_with('.'))
      journals.push_back(path);
  }
  return journals;
}

std::vector<Path> strays_in(const Path& folder) {
  std::vector<Path> strays;
  if (!std::filesystem::is_directory(folder)) return strays;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const Path& path = file.path();
    const bool kept = path.extension() == ".json" ||
                      std::filesystem::exists(Path(path).replace_extension(".json"));
    if (!kept && !file.is_directory()) strays.push_back(path);
  }
  return strays;
}

void make_folder(const Path& folder) {
  struct stat status{};
  if (folder.empty() || (::stat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode))) return;
  make_folder(folder.parent_path());
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    throw_errno(errno, "make the folder {}", folder.native());
  }
  sync_folder(folder.has_parent_path() ? folder.parent_path() : Path("."));
}

std::optional<pid_t> FileLock::holder(const Path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) return std::nullopt;
  std::array<char, 32> text{};
  const std::size_t size = read_some(fd.get(), text, path.native());
  pid_t pid = 0;
  if (std::from_chars(text.data(), text.data() + size, pid).ec != std::errc{} || pid <= 1) {
    return std::nullopt;
  }
  return pid;
}

void FileLock::wait_until_free(const Path& path) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  while (::flock(fd.get(), LOCK_SH) != 0) {
    if (errno != EINTR) throw_errno(errno, "wait for {}", path.native());
  }
}

FileLock::FileLock(const Path& path) : fd_(open_file(path, O_RDWR | O_CREAT)) {
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) throw_errno(errno, "lock {}", path.native());
    std::array<char, 32> holder{};
    const ssize_t size = ::pread(fd_.get(), holder.data(), holder.size() - 1, 0);
    std::string_view pid(holder.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    while (!pid.empty() && (pid.back() < '0' || pid.back() > '9')) pid.remove_suffix(1);
    throw Error(Code::busy, "another volseal is at work (process {}, lock {})",
                pid.empty() ? "unknown" : pid, path.native());
  }
  // For the message above only: that it cannot be written on a full disk must not stop an unlock.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd_.get(), 0) == 0) (void)!::write(fd_.get(), pid.data(), pid.size());
}

}  // namespace volseal
