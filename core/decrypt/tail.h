// The last bytes of a device that is decrypted, which nothing needs any more.
#pragma once

#include "core/base/file.h"

#include <cstddef>
#include <cstdint>

namespace volseal {

// What a device is known by; see DecryptionEntry.
constexpr std::size_t known_bytes = 64U << 10U;

// Zeros from `begin` to the end of a device or file, the last known_bytes after the rest is on the
// disk: until then the device is known by them. Throws Error{busy, io}.
void zero_to_the_end(const Path& device, std::uint64_t begin);

// Every byte from `begin` to the end is zero. Throws Error{io}.
bool is_zero_from(const Path& device, std::uint64_t begin);

}  // namespace volseal
