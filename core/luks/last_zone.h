// The end of an encryption in place, where libcryptsetup was cut off after its last hot zone.
//
// With that zone synced, libcryptsetup writes segments that are all encrypted, overwrites the first
// segment's copy in the clear, and takes the re-encryption out of the header. Cut off before that,
// 2.6.1 can open the volume but never finish: it looks for a zone that is left, and fails ("Failed
// to set device segments for next reencryption hotzone").
#pragma once

#include "core/base/file.h"

namespace volseal {

// The header of `device` says so. False for anything else, also for what contradicts itself.
bool is_past_last_zone(const Path& device);

// Overwrites the copy in the clear and writes the header without the re-encryption: one copy of it
// after the other, each synced, so that one is whole at any time. Repeatable after a cut. The
// caller has seen is_past_last_zone(). Throws Error{io, damaged}.
void finish_after_last_zone(const Path& device);

}  // namespace volseal
