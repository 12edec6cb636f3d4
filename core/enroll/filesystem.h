// ext2/3/4 by e2fsprogs, swap by util-linux: checked, shrunk, made.
#pragma once

#include "core/base/file.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

// Throws Error{unsafe} where e2fsck finds what it does not mend without asking. Writes only where
// it must (a journal to replay, small things that e2fsck -p mends); a clean file system stays as it
// is.
void require_sound_ext(const Path& device);

// A full check that mends what e2fsck -p mends, as resize2fs demands it. Throws Error{unsafe}.
void check_ext(const Path& device);

// Throws Error{cannot_shrink} where the file system cannot do with `bytes`. Changes nothing.
void require_ext_fits(const Path& device, std::uint64_t bytes);

// The ext file system has been mounted since it was made.
bool is_used_ext(const Path& device);

// A run of bytes.
struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
};

// What an ext file system does not use of its first `below` bytes, in order: the longest runs, at
// most `most` of them, each of 1 MiB at least and of whole blocks of 4 KiB. Nothing where e2fsck
// would change anything: its bitmaps are then not to be trusted.
std::vector<Extent> free_extents(const Path& device, std::uint64_t below, std::size_t most);

// How far to shrink, and what that moves.
struct ExtShrink {
  std::uint64_t bytes = 0;  // of the file system afterwards
  std::uint64_t moved = 0;  // bytes in use behind that now
};

// The size at which shrinking, encrypting and zeroing the rest cost the least; nothing where
// encrypting all of `most` bytes costs less. `quick_zero`: the device zeroes at next to no cost.
// `store`: bytes that may be moved at most. Throws Error{program_failed}.
std::optional<ExtShrink> cheapest_ext_shrink(const Path& device, std::uint64_t most,
                                             bool quick_zero, std::uint64_t store);

// Makes the file system in an open volume as large as that. By the kernel, mounted at a place of
// its own: in its journal, so a cut leaves it whole. Throws Error{program_failed}.
void grow_ext(const Path& device);

// Shrinks to exactly `bytes`. A cut in its middle leaves a broken file system: use Shrinking.
void shrink_ext(const Path& device, std::uint64_t bytes);

void make_ext4(const Path& device, const std::string& label);
void make_swap(const Path& device, const std::string& uuid, const std::string& label);

}  // namespace volseal
