#include "core/discover/samples.h"

#include "core/base/error.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>

namespace volseal {
namespace {

constexpr std::size_t edge = 1U << 20U;
constexpr std::size_t places = 64;
constexpr std::size_t sample = 4096;

class Histogram {
 public:
  void add(const std::vector<std::uint8_t>& bytes) {
    for (const std::uint8_t byte : bytes) ++count_.at(byte);
    total_ += bytes.size();
  }

  bool only_zeros() const { return count_[0] == total_; }

  // Shannon entropy in bits a byte; 8 for ciphertext, below 7.5 for nearly everything else but
  // compressed data.
  double entropy() const {
    double bits = 0;
    for (const std::uint64_t count : count_) {
      if (count == 0) continue;
      const double share = static_cast<double>(count) / static_cast<double>(total_);
      bits -= share * std::log2(share);
    }
    return bits;
  }

 private:
  std::array<std::uint64_t, 256> count_{};
  std::uint64_t total_ = 0;
};

// Spreads the places inside their strata, so that a pattern with the stratum's period does not
// hide.
std::uint64_t scattered(std::uint64_t index, std::uint64_t width) {
  const std::uint64_t mixed = (index + 1) * 0x9e3779b97f4a7c15U;
  return width == 0 ? 0 : (mixed ^ mixed >> 32U) % width;
}

}  // namespace

Reader::Reader(int fd) : fd_(fd) {
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) throw_errno(errno, "find its size");
  size_ = static_cast<std::uint64_t>(end);
}

std::vector<std::uint8_t> Reader::read(std::uint64_t offset, std::size_t size) const {
  if (offset >= size_) return {};
  std::vector<std::uint8_t> data(
      static_cast<std::size_t>(std::min<std::uint64_t>(size, size_ - offset)));
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t got =
        ::pread(fd_, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read {} bytes at {}", data.size(), offset);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  data.resize(done);
  return data;
}

Look look_at_samples(const Reader& reader) {
  Histogram histogram;
  histogram.add(reader.read(0, edge));
  // A MiB of something at the head settles that it is not blank; the rest is read for blank ones.
  if (histogram.only_zeros() && reader.size() > edge) {
    histogram.add(
        reader.read(reader.size() - std::min<std::uint64_t>(edge, reader.size() - edge), edge));
    const std::uint64_t width = reader.size() / places;
    for (std::uint64_t place = 0; place < places && histogram.only_zeros(); ++place) {
      const std::uint64_t offset = place * width + scattered(place, width);
      histogram.add(reader.read(offset / sample * sample, sample));
    }
  }
  if (histogram.only_zeros()) return Look::zeros;
  return histogram.entropy() > 7.9 ? Look::random : Look::data;
}

}  // namespace volseal
