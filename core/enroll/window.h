// The head of a device as a device of its own: what libcryptsetup is to encrypt where the rest is
// free and has been zeroed. It takes a size only together with a detached header, so the mapping is
// what limits it. It does not survive a restart, and nothing on the disk depends on it: a volume
// that was cut off opens without.
#pragma once

#include "core/base/apart.h"
#include "core/base/file.h"

#include <cstdint>
#include <string>

namespace volseal {

class Window {
 public:
  // Bytes of `device`, a multiple of 512; 0: all of it, which takes no mapping. Takes over what an
  // earlier run left under `name`. Throws Error{program_failed}.
  Window(const Path& device, std::uint64_t bytes, std::string name);
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  Window(Window&&) = delete;
  Window& operator=(Window&&) = delete;
  ~Window();

  const Path& path() const { return path_; }

 private:
  std::string name_;
  Path path_;
};

// Zeros from `begin` to the end of a block device, by the kernel, which lets the device do it where
// it can: what is there reads as zeros when this returns (ioctl BLKZEROOUT). `go_on` gets bytes
// done and in all; false stops. Returns whether it came to the end. Throws Error{io}.
bool zero_tail(const Path& device, std::uint64_t begin, const GoOn& go_on);

}  // namespace volseal
