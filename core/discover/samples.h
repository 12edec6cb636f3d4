// Bounded reads of a device, and what a sample of its sectors looks like.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

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

// The head of a stretch of it and 16 places in between. Throws Error{io}.
Look look_at_stretch(const Reader& reader, std::uint64_t start, std::uint64_t size);

// Adds what 64 places of a stretch of a device look like, other ones in every run: nobody can know
// where not to put plaintext. Past the page cache, which knows nothing of what device-mapper wrote
// below it. Throws Error{io, denied}.
void sample_stretch(const Path& node, std::uint64_t start, std::uint64_t size, Sample& sample);

}  // namespace volseal
