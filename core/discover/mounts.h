// What is mounted and swapped on, and what should be: mountinfo, /proc/swaps, fstab, crypttab.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <string>
#include <vector>

namespace volseal {

struct Mount {
  std::uint32_t major = 0;  // of the file system; of no device for btrfs, overlay, tmpfs ...
  std::uint32_t minor = 0;
  std::string source;
  std::string target;
  std::string type;
};

struct Swap {
  std::string path;
  bool is_file = false;
  std::uint64_t size = 0;  // bytes
};

// Each is empty where its file is not there or cannot be read.
std::vector<Mount> read_mounts(const Path& proc);
std::vector<Swap> read_swaps(const Path& proc);
std::vector<FstabEntry> read_fstab(const Path& etc);
std::vector<CrypttabEntry> read_crypttab(const Path& etc);

}  // namespace volseal
