// LUKS headers, read only.
//
// crypt_load() repairs a damaged header copy while it reads. A scan must not write, so scans read
// the header themselves: LUKS1 on-disk format 1.2.3 and LUKS2 on-disk format 1.1, bounded and
// strict. Nothing here decides what may be opened: core/luks/volume.h does, with libcryptsetup.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// Up to `size` bytes from `offset`; fewer at the end. May throw Error{io}.
using ReadAt = std::function<std::vector<std::uint8_t>(std::uint64_t offset, std::size_t size)>;

// Nothing: there is no LUKS header. A header that contradicts itself comes back with `damage` set
// and whatever could be read. `device_size` in bytes. Never throws for what it reads.
std::optional<LuksHeader> parse_header(const ReadAt& read_at, std::uint64_t device_size);

// The header of a device or image. Throws Error{not_found, denied, io}.
std::optional<LuksHeader> read_header(const Path& path);

// A header with what tells it from the headers of other volumes, and from what it was before a
// change. Fingerprints are SHA-256, hexadecimal.
struct IdentifiedHeader {
  LuksHeader header;
  // Of the digests that the volume keys of its segments are verified against; "" for none.
  std::string key_digest;
  std::uint64_t sequence = 0;           // LUKS2: grows with each write
  std::map<int, std::string> keyslots;  // fingerprint of each; without a re-encryption's own
  std::map<int, std::string> tokens;    // fingerprint of each
  std::uint64_t keyslots_at = 0;        // where the room of the keyslots begins, bytes
  std::uint64_t bytes = 0;              // header, keyslots and all: where data may begin
};

// As parse_header() and read_header().
std::optional<IdentifiedHeader> identify_header(const ReadAt& read_at, std::uint64_t device_size);
std::optional<IdentifiedHeader> identify_header(const Path& path);

// True for ciphers that leave plaintext on the disk: "null", "cipher_null-ecb" ...
bool is_null_cipher(std::string_view cipher);

}  // namespace volseal
