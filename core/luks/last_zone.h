// The end of an encryption or decryption in place, where libcryptsetup was cut off behind its last
// hot zone.
//
// With that zone synced, libcryptsetup writes the final segment, overwrites the copy of the first
// one, and takes the re-encryption out of the header. Cut off before that, 2.6.1 looks for a zone
// that is left. An encryption fails for good ("Failed to set device segments for next reencryption
// hotzone"). A decryption decrypts the first zone once more: 'cryptsetup reencrypt --resume-only'
// destroys it without a word.
#pragma once

#include "core/base/file.h"

namespace volseal {

enum class LastZone { ahead, encrypted, decrypted };

// What the header on a device or in a file says. `ahead` for anything else, also for what
// contradicts itself.
LastZone last_zone(const Path& header);

// Of an encryption: overwrites the copy in the clear and writes the header without the
// re-encryption: one copy of it after the other, each synced, so that one is whole at any time.
// Repeatable after a cut. Throws Error{io, damaged}.
void finish_after_last_zone(const Path& device);

}  // namespace volseal
