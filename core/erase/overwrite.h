// Overwriting a part of a device with noise, and reading back from the disk that it is there.
#pragma once

#include "core/base/file.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace volseal {

// A part of what is erased.
struct ErasedArea {
  std::string what;          // "keyslots", "header"
  std::uint64_t offset = 0;  // bytes; a multiple of 512, as is `bytes`
  std::uint64_t bytes = 0;
  // Once it was overwritten and read back:
  std::string sha256;           // of what was read, hexadecimal; "" before
  bool direct = false;          // it came from the disk (O_DIRECT), and not from memory
  bool secure_discard = false;  // the device destroyed what it had there first (BLKSECDISCARD)
};

// Bytes that look random and can be made again: AES-256-CTR under a key that only the journal has.
// So what a power cut left can be told from anything else, and what is read back can be compared
// without a copy in memory.
class Noise {
 public:
  explicit Noise(std::string seed);  // 32 bytes, hexadecimal; throws Error{damaged}
  static std::string new_seed();
  // As it is at that offset of the device, a multiple of 16.
  void fill(std::span<std::uint8_t> bytes, std::uint64_t offset) const;

 private:
  std::string key_;
};

// On the disk when it returns (fsync, and the kernel's buffers of the device are dropped). `fd` is
// open for writing. Repeatable. Throws Error by errno.
void overwrite(int fd, const Path& path, ErasedArea& area, const Noise& noise);
// Byte by byte; fills in what the area says of it. Throws Error{io} where anything else is read.
void prove_overwritten(const Path& path, ErasedArea& area, const Noise& noise);
// The first 4 KiB of the area are the noise.
bool begins_with_noise(const Path& path, std::uint64_t offset, const Noise& noise);

}  // namespace volseal
