// How large a file system says it is: what libblkid of Debian 12 does not tell.
//
// Sources: ext4, kernel Documentation/filesystems/ext4/super.rst; XFS, "XFS Algorithms & Data
// Structures", section Superblocks; btrfs, btrfs-dev-docs "On-disk format", superblock.
#pragma once

#include "core/discover/samples.h"

#include <cstdint>
#include <string_view>

namespace volseal {

struct FilesystemSize {
  std::uint64_t size = 0;        // bytes from the start of the device; 0: not known
  std::uint64_t used = 0;        // bytes, as noted when it was last unmounted or synced
  std::uint32_t block_size = 0;  // bytes; the smallest unit that it reads or writes
  bool fscrypt = false;          // directories may be encrypted one by one
};

// `type` as libblkid names it. All zero for a type that is not known here and for a superblock
// that contradicts itself or the device. Throws Error{io}.
FilesystemSize filesystem_size(const Reader& reader, std::string_view type);

}  // namespace volseal
