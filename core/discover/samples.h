// Bounded reads of a device, and what a sample of its sectors looks like.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace volseal {

class Reader {
 public:
  // Of a descriptor that stays open. Throws Error{io} where it has no size.
  explicit Reader(int fd);

  int fd() const { return fd_; }
  std::uint64_t size() const { return size_; }
  // Fewer bytes at the end. Throws Error{io}.
  std::vector<std::uint8_t> read(std::uint64_t offset, std::size_t size) const;

 private:
  int fd_;
  std::uint64_t size_ = 0;
};

enum class Look {
  zeros,   // nothing but zero bytes in what was looked at
  random,  // as ciphertext looks
  data,
};

// The first and the last MiB and 64 places in between, the same in every run. Throws Error{io}.
Look look_at_samples(const Reader& reader);

}  // namespace volseal
