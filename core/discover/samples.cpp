#include "core/discover/samples.h"

#include "core/base/error.h"
#include "core/base/handle.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <span>

namespace volseal {
namespace {

constexpr std::size_t edge = 1U << 20U;
constexpr std::size_t places = 64;
constexpr std::size_t sample_bytes = 4096;

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

std::uint64_t random_number() {
  std::uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != ssize_t{sizeof value})
    throw_errno(errno, "get random numbers");
  return value;
}

bool is_one_byte(std::span<const std::uint8_t> bytes) {
  return std::ranges::all_of(bytes, [&](std::uint8_t byte) { return byte == bytes[0]; });
}

// Without the sectors that nobody has written: dm-crypt writes as little as 512 bytes at once.
void judge_block(std::span<const std::uint8_t> block, Sample& found) {
  constexpr std::size_t sector = 512;
  ++found.places;
  std::vector<std::uint8_t> written;
  for (std::size_t at = 0; at + sector <= block.size(); at += sector) {
    const auto part = block.subspan(at, sector);
    if (!is_one_byte(part)) written.insert(written.end(), part.begin(), part.end());
  }
  if (written.empty()) {
    ++found.empty;
    return;
  }
  Histogram histogram;
  histogram.add(written);
  // N random bytes have 8 - 184/N bits of entropy, give or take 0.03 for a sector and less for
  // more: 7.64 for a sector, 7.95 for 4 KiB. Text has 4 to 5, programs about 6.
  const double lowest = 7.9 - 1.7 * 184 / static_cast<double>(written.size());
  ++(histogram.entropy() > lowest ? found.random : found.clear);
}

struct AlignedDeleter {
  void operator()(std::uint8_t* memory) const { std::free(memory); }  // NOLINT(*-no-malloc)
};

}  // namespace

Look look_at_stretch(const Reader& reader, std::uint64_t start, std::uint64_t size) {
  constexpr std::size_t head = 64U << 10U;
  constexpr std::uint64_t spots = 16;
  Histogram histogram;
  histogram.add(reader.read(start, std::min<std::uint64_t>(head, size)));
  const std::uint64_t width = size / spots;
  for (std::uint64_t spot = 0; spot < spots && histogram.only_zeros(); ++spot) {
    const std::uint64_t offset = spot * width + scattered(spot, width);
    histogram.add(reader.read(
        start + offset / sample_bytes * sample_bytes,
        static_cast<std::size_t>(std::min<std::uint64_t>(sample_bytes, size - offset))));
  }
  if (histogram.only_zeros()) return Look::zeros;
  return histogram.entropy() > 7.9 ? Look::random : Look::data;
}

void sample_stretch(const Path& node, std::uint64_t start, std::uint64_t size, Sample& found) {
  UniqueFd fd(::open(node.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_DIRECT));
  // Not every file system can; an image file has no mapping behind its back.
  if (!fd && errno == EINVAL) fd = open_file(node, O_RDONLY);
  if (!fd) throw_errno(errno, "read {}", node.native());
  const std::uint64_t end = Reader(fd.get()).size();
  start = (start + sample_bytes - 1) / sample_bytes * sample_bytes;
  if (start + sample_bytes > end) return;
  const std::uint64_t blocks = std::min(size, end - start) / sample_bytes;
  const std::unique_ptr<std::uint8_t, AlignedDeleter> memory(
      static_cast<std::uint8_t*>(std::aligned_alloc(sample_bytes, sample_bytes)));
  if (!memory) throw_errno(ENOMEM, "read {}", node.native());
  const std::uint64_t count = std::min<std::uint64_t>(places, blocks);
  for (std::uint64_t place = 0; place < count; ++place) {
    const std::uint64_t width = blocks / count;
    const std::uint64_t block = place * width + random_number() % width;
    const auto offset = static_cast<off_t>(start + block * sample_bytes);
    const ssize_t got = ::pread(fd.get(), memory.get(), sample_bytes, offset);
    if (got < 0) throw_errno(errno, "read {} at {}", node.native(), offset);
    if (got == ssize_t{sample_bytes})
      judge_block({memory.get(), memory.get() + sample_bytes}, found);
  }
}

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
      histogram.add(reader.read(offset / sample_bytes * sample_bytes, sample_bytes));
    }
  }
  if (histogram.only_zeros()) return Look::zeros;
  return histogram.entropy() > 7.9 ? Look::random : Look::data;
}

}  // namespace volseal
