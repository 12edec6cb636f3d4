// ext2/3/4 by e2fsprogs, swap by util-linux: checked, shrunk, made.
#pragma once

#include "core/base/file.h"

#include <cstdint>
#include <string>

namespace volseal {

// Throws Error{unsafe} where e2fsck finds what it does not mend without asking. Writes only where
// it must (a journal to replay, small things that e2fsck -p mends); a clean file system stays as it
// is.
void require_sound_ext(const Path& device);

// A full check that mends what e2fsck -p mends, as resize2fs demands it. Throws Error{unsafe}.
void check_ext(const Path& device);

// Throws Error{cannot_shrink} where the file system cannot do with `bytes`. Changes nothing.
void require_ext_fits(const Path& device, std::uint64_t bytes);

// Shrinks to exactly `bytes`. A cut in its middle leaves a broken file system: use Shrinking.
void shrink_ext(const Path& device, std::uint64_t bytes);

void make_ext4(const Path& device, const std::string& label);
void make_swap(const Path& device, const std::string& uuid, const std::string& label);

}  // namespace volseal
