// Is it really blank? Asked again right before a volume is formatted.
#pragma once

#include "core/base/file.h"
#include "core/policy/policy.h"

#include <cstdint>

namespace volseal {

// Throws Error{unsafe} when any byte that is looked at is not zero, Error{io} when it cannot be
// read.
//
// sampled: the first and last 16 MiB and 2048 blocks of 4 KiB spread evenly between them at random
// places. Data on a thousandth of the disk is missed with a probability of 13 %, on a hundredth
// with 1 in 10^9. full: every byte.
void require_blank(const Path& device, BlankCheck check);

// Every byte from `begin` to the end of the device. As above.
void require_blank_tail(const Path& device, std::uint64_t begin);

}  // namespace volseal
