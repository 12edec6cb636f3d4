#include "core/decrypt/tail.h"

#include "core/base/error.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace volseal {

namespace {

void zero(int fd, const Path& device, std::uint64_t begin, std::uint64_t end) {
  const std::string zeros(1U << 20U, '\0');
  while (begin < end) {
    const std::size_t piece = std::min<std::uint64_t>(zeros.size(), end - begin);
    const ssize_t put = ::pwrite(fd, zeros.data(), piece, static_cast<off_t>(begin));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_errno(errno, "zero the end of {}", device.native());
    begin += static_cast<std::uint64_t>(put);
  }
  sync_fd(fd, device.native());
}

}  // namespace

void zero_to_the_end(const Path& device, std::uint64_t begin) {
  // O_EXCL alone means something for block devices only.
  const UniqueFd fd = open_file(device, is_block_device(device) ? O_WRONLY | O_EXCL : O_WRONLY);
  const std::uint64_t end = size_of(fd.get(), device);
  const std::uint64_t last = std::max(begin, end - std::min<std::uint64_t>(end, known_bytes));
  zero(fd.get(), device, begin, last);
  zero(fd.get(), device, last, end);
}

bool is_zero_from(const Path& device, std::uint64_t begin) {
  const UniqueFd fd = open_file(device, O_RDONLY);
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  const std::uint64_t end = size_of(fd.get(), device);
  std::string buffer(1U << 20U, '\0');
  while (begin < end) {
    const std::size_t wanted = std::min<std::uint64_t>(buffer.size(), end - begin);
    const ssize_t got = ::pread(fd.get(), buffer.data(), wanted, static_cast<off_t>(begin));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read {}", device.native());
    if (got == 0) return true;
    const auto last = buffer.begin() + got;
    if (std::any_of(buffer.begin(), last, [](char c) { return c != 0; })) return false;
    begin += static_cast<std::uint64_t>(got);
  }
  return true;
}

}  // namespace volseal
