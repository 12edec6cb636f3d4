#include "core/enroll/blank.h"

#include "core/base/error.h"
#include "core/base/human.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

namespace volseal {

namespace {

constexpr std::uint64_t edge = 16ULL << 20U;
constexpr std::uint64_t sample = 4096;
constexpr std::uint64_t samples = 2048;

class BlankReader {
 public:
  explicit BlankReader(const Path& device)
      : device_(device),
        fd_(open_file(device, O_RDONLY)),
        size_(size_of(fd_.get(), device)),
        buffer_(1U << 20U) {
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  }

  std::uint64_t size() const { return size_; }

  void require_zeros(std::uint64_t begin, std::uint64_t end) {
    end = std::min(end, size_);
    while (begin < end) {
      const std::size_t wanted = std::min<std::uint64_t>(buffer_.size(), end - begin);
      const ssize_t got = ::pread(fd_.get(), buffer_.data(), wanted, static_cast<off_t>(begin));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_errno(errno, "read {} at {}", device_.native(), human_size(begin));
      if (got == 0) return;
      const auto last = buffer_.begin() + got;
      if (const auto at = std::find_if(buffer_.begin(), last, [](char c) { return c != 0; });
          at != last) {
        throw Error(Code::unsafe, "format {}: it is not blank, there is data at byte {}",
                    device_.native(), begin + static_cast<std::uint64_t>(at - buffer_.begin()));
      }
      begin += static_cast<std::uint64_t>(got);
    }
  }

 private:
  Path device_;
  UniqueFd fd_;
  std::uint64_t size_;
  std::vector<char> buffer_;
};

std::uint64_t random_below(std::uint64_t limit) {
  std::uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value)
    throw_errno(errno, "read the kernel's random numbers");
  return value % limit;
}

}  // namespace

void require_blank(const Path& device, BlankCheck check) {
  BlankReader reader(device);
  const std::uint64_t size = reader.size();
  if (check == BlankCheck::full || size <= 2 * edge + samples * sample) {
    reader.require_zeros(0, size);
    return;
  }
  reader.require_zeros(0, edge);
  reader.require_zeros(size - edge, size);
  // One block at a random place of each of 2048 equal parts.
  const std::uint64_t part = (size - 2 * edge) / samples;
  for (std::uint64_t i = 0; i < samples; ++i) {
    const std::uint64_t at = edge + i * part + random_below(part) / sample * sample;
    reader.require_zeros(at, at + sample);
  }
}

void require_blank_tail(const Path& device, std::uint64_t begin) {
  BlankReader reader(device);
  reader.require_zeros(begin, reader.size());
}

}  // namespace volseal
