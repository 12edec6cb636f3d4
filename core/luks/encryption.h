// Encrypting a volume in place, by libcryptsetup's re-encryption with a data shift.
//
// The way of a volume of S bytes, whose file system has been shrunk to S - 32 MiB:
//   begin():   the first 16 MiB are copied to the last 16 MiB; the header file learns of it. The
//   head
//              is still there, so until install_header() the volume is what it was.
//   install_header(): the header file goes to the head of the device. Repeatable: all that it
//              overwrites has its copy at the end.
//   run():     from the end to the start, in hot zones. libcryptsetup journals each (data shift:
//   the
//              old copy stays until the new is synced), so a cut loses nothing, at any point.
#pragma once

#include "core/base/apart.h"
#include "core/base/file.h"
#include "core/base/secret.h"
#include "core/luks/volume.h"

#include <cstdint>
#include <string>

namespace volseal {

// The room that an encryption in place takes from a volume, bytes: header and moved first segment.
constexpr std::uint64_t in_place_bytes = 2 * header_bytes;

class InPlaceEncryption {
 public:
  // `header` holds a volume made by Volume::format with `keyslot` opened by `passphrase`. Changes
  // the header file and the last 16 MiB of `device`. A cut: start again from a fresh copy of the
  // header.
  static void begin(const Path& header, const Path& device, const Secret& passphrase, int keyslot,
                    std::uint32_t sector_size);

  enum class State { none, clean, crashed };
  static State state(const Path& device);

  // Goes on until it is done (true) or `go_on` says stop (false). Repairs a crashed hot zone
  // first. The volume must not be open, but where `mapping` names what it is open as under
  // /dev/mapper: then it stays in use, and only who reads or writes in the hot zone waits. Throws
  // Error{wrong_secret, busy, io, damaged}.
  //
  // Under a mapping, call it from a process of its own: its memory stays locked. One that fails or
  // is killed may leave devices beside the mapping, with the hot zone held back: see HotZone.
  static bool run(const Path& device, const Secret& passphrase, const std::string& mapping,
                  const GoOn& go_on);
};

// What clear_superblock() clears at the head of a device.
constexpr std::uint64_t superblock_bytes = 4096;

// Nobody takes the device for an ext, XFS or swap any more. Where ext has its magic comes first: as
// long as that is there, nothing has been cleared.
void clear_superblock(const Path& device);

// Writes the header file to the head of the device, syncs, and reads it back. `replaces_data`: what
// is there now has been moved; its superblock is cleared first, so that no half-written header can
// be mounted as the file system that used to begin there. Repeatable after a cut.
void install_header(const Path& header, const Path& device, bool replaces_data);

// A LUKS1 header with its keyslots, all that lies before the data, becomes one of LUKS2 in the same
// room: in the file `header`. Throws Error{io, damaged}; the file is of no use then.
void convert_to_luks2(const Path& header);

// What lies before the data of a LUKS1 volume, into a new file, synced.
void copy_luks1_header(const Path& device, const Path& file);

// The first `size` bytes; fewer where the device or file ends before.
std::string read_head(const Path& path, std::uint64_t size);

}  // namespace volseal
