// Secret: bytes that must not leak.
//
// Each lives in pages of its own: locked (a failure is an error, since a swapped key is a leaked
// key), left out of core dumps, wiped on fork and on destruction. Move-only. There is no to_string,
// no operator== and no formatter, so that logging one does not compile.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace volseal {

class Secret {
 public:
  Secret() = default;
  // `size` zero bytes. Throws Error{denied} where memory cannot be locked.
  explicit Secret(std::size_t size);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  // `size` bytes from getrandom(2).
  static Secret random(std::size_t size);
  // Copies; the caller wipes the original (see wipe()).
  static Secret copy_of(std::span<const std::uint8_t> bytes);
  static Secret copy_of(std::string_view text);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<std::uint8_t> bytes() { return {data_, size_}; }
  std::span<const std::uint8_t> bytes() const { return {data_, size_}; }
  // For C libraries that want char*; not terminated.
  const char* chars() const { return reinterpret_cast<const char*>(data_); }
  std::string_view view() const { return {chars(), size_}; }

  // Keeps the first `size` bytes and wipes the rest.
  void truncate(std::size_t size);
  Secret clone() const { return copy_of(bytes()); }

  // In constant time for equal sizes.
  bool equal(const Secret& other) const;

 private:
  void release();

  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t mapped_ = 0;
};

// Overwrites in a way that the compiler keeps.
void wipe(void* data, std::size_t size);

// Lowercase hexadecimal, and standard padded base64, of a secret: secrets themselves.
Secret hex_of(const Secret& secret);
Secret base64_of(const Secret& secret);

// No core dump from here on, and not traceable by others of the same user (prctl PR_SET_DUMPABLE
// 0).
void forbid_core_dumps();

}  // namespace volseal

// Printing a secret must not compile.
template <>
struct fmt::formatter<volseal::Secret> {
  formatter() = delete;
};
