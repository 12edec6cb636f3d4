// Decrypting a volume in place, by libcryptsetup's re-encryption with a data shift: the way of
// encryption.h backwards.
//
// A volume has its header in the first H bytes (H: Volume::data_offset), its data behind. The
// header lives in a file while the data comes down to byte 0:
//   begin():  the first H bytes of the ciphertext are copied over the old header; where they came
//             from stays as it is. The header file learns of it. Until both are synced the volume
//             still is whole: its header is in the pristine file, its data where it was. Repeatable
//             from a fresh copy of that file.
//   run():    from the start to the end, in hot zones; each goes H bytes down and into the clear.
//             libcryptsetup notes in the header file what a zone was before, so a cut loses
//             nothing. The copied piece at byte 0 comes last. Then the header file has no keyslot
//             any more, and the last H bytes of the device still are ciphertext.
#pragma once

#include "core/base/file.h"
#include "core/base/secret.h"
#include "core/luks/encryption.h"

#include <cstdint>
#include <string>

namespace volseal {

class InPlaceDecryption {
 public:
  // begin() on a sparse file in memory, of the device's size: what libcryptsetup does not accept of
  // this header or this passphrase is known before anything is written. `header` stays as it is.
  // Throws Error{wrong_secret, too_small, io ...}.
  static void rehearse(const Path& header, std::uint64_t device_size, const Secret& passphrase);

  // Changes the header file and the first data_offset() bytes of `device`; synced when it returns.
  static void begin(const Path& header, const Path& device, const Secret& passphrase);

  // The piece at byte 0 is being decrypted, or has been: nothing there is as begin() left it.
  static bool is_at_last_piece(const Path& header);
  // All data is in the clear: what the header file says.
  static bool is_done(const Path& header);

  // Goes on until it is done (true) or `go_on` says stop (false). Repairs a crashed hot zone
  // first. The volume must not be open. Throws Error{wrong_secret, busy, io, damaged}.
  static bool run(const Path& header, const Path& device, const Secret& passphrase,
                  const GoOn& go_on);
};

// SHA-256, hexadecimal, of that part of a device or file; of less where it ends before.
std::string fingerprint(const Path& path, std::uint64_t offset, std::size_t size);
std::string fingerprint_of_zeros(std::size_t size);

}  // namespace volseal
