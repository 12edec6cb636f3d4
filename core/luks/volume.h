// One LUKS volume, through libcryptsetup: keyslots, tokens, the header binding, activation.
//
// A Volume reads the header once. What is checked on it (binding_text, refuse_unsafe) and what is
// activated through it are therefore the same header: a second read would be a race with whoever
// can write to the disk. Volume keys never leave libcryptsetup.
//
// Keyslot and token changes are atomic: libcryptsetup writes the secondary header copy after the
// primary, and either opens (LUKS2 on-disk format 1.1, section 2.3).
#pragma once

#include "core/base/file.h"
#include "core/base/secret.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct crypt_device;

namespace volseal {

// Where the data of a volume that we make begins: room for the header, aligned to any disk's
// liking.
constexpr std::uint64_t header_bytes = 16ULL << 20U;

// How a keyslot stretches its passphrase.
enum class Stretch {
  none,      // PBKDF2 at the minimum of 1000 iterations: for keys of 256 bits, which need none
  argon2id,  // for what people type: about 2 s and up to 1 GiB of memory
};

struct FormatOptions {
  std::string cipher = "aes-xts-plain64";  // as in a device-mapper table
  int key_bits = 512;
  std::uint32_t sector_size = 512;  // bytes
  std::string label;
  Path data_device;  // where the header file belongs; sizes and alignment come from it
};

struct ActivateOptions {
  bool read_only = false;
  bool discard = false;
  bool no_read_workqueue = false;
  bool no_write_workqueue = false;
};

struct VolumeToken {
  int id = 0;
  std::string type;
  std::string json;
};

class Volume {
 public:
  // Throws Error{not_luks, damaged, not_found, denied, io}.
  static Volume load(const Path& device);

  // Writes a LUKS2 header without keyslots into the header file `header`, which must exist. Nothing
  // else is written: the data device gets the header by install_header() (encryption.h).
  static Volume format(const Path& header, const FormatOptions& options);

  Volume(Volume&&) noexcept;
  Volume& operator=(Volume&&) noexcept;
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;
  ~Volume();

  const Path& path() const { return path_; }
  std::string uuid() const;
  int version() const;                // 1 or 2
  std::uint64_t data_offset() const;  // bytes: where the header's room ends
  std::vector<int> keyslots() const;  // those that can open, without a re-encryption's own

  // After format() only: the volume key is still in libcryptsetup's memory.
  int add_first_keyslot(const Secret& passphrase, Stretch stretch);
  // Throws Error{wrong_secret} when `existing` opens nothing.
  int add_keyslot(const Secret& existing, const Secret& added, Stretch stretch);
  // Destroys the keyslot's area too. The caller has made sure that another one opens.
  void remove_keyslot(int slot);

  // The keyslot that opens with it, without mapping anything; nothing when none does.
  std::optional<int> opens_with(const Secret& passphrase, std::optional<int> slot = {}) const;

  // Of the keyslot's KDF, as it stands in the header: no other keyslot ever has the same. Throws
  // Error{not_found}.
  std::string keyslot_salt(int slot) const;

  std::vector<VolumeToken> tokens() const;
  // A new token, or the one of that id anew; returns the id. Throws Error{no_space} when the
  // header's JSON area is full.
  int set_token(const std::string& json, std::optional<int> id = {});
  void remove_token(int id);

  // Text over which the group's HMAC binds this header: UUID, volume-key digest, and
  //   "full": every segment (cipher, offset, size, sector size, integrity) and requirement;
  //   "reencrypt": what an encryption in place does not change: cipher and sector size.
  // Throws Error{tampered} where a segment in force does not fit the scope.
  std::string binding_text(const std::string& scope) const;

  // Header and keyslots into a file that must not exist. Not synced.
  void copy_header(const Path& file) const;

  // Throws Error{tampered} for null ciphers and for requirements that no release of volseal sets.
  void refuse_unsafe() const;

  // Maps it to /dev/mapper/NAME, by that keyslot or by any; returns the keyslot. Throws
  // Error{wrong_secret, busy, io}.
  int activate(const std::string& name, const Secret& passphrase, const ActivateOptions& options,
               std::optional<int> slot = {});

 private:
  friend class InPlaceDecryption;
  friend class InPlaceEncryption;
  friend void install_header(const Path& header, const Path& device, bool replaces_data);
  friend void convert_to_luks2(const Path& header);
  friend void widen_mapping(const std::string& name, const Path& device, const Secret& passphrase);
  struct Messages;
  static Volume open(const Path& path);
  Volume(Path path, crypt_device* device, std::unique_ptr<Messages> messages);
  // What is derived from random keys from here on is not stretched, and nothing is benchmarked.
  void stretch_nothing();
  [[noreturn]] void fail(int error, const std::string& doing) const;

  Path path_;
  std::unique_ptr<Messages> messages_;  // outlives device_, whose log callback writes there
  struct Free {
    void operator()(crypt_device* device) const;
  };
  std::unique_ptr<crypt_device, Free> device_;
};

// The mapping of `device`, open and perhaps in use, gets all of the room that the header gives it;
// while the volume is encrypted in place it has less. Throws Error{wrong_secret, io}.
void widen_mapping(const std::string& name, const Path& device, const Secret& passphrase);
// Unmaps; Error{busy} while it is in use. What an encryption in place has left beside it goes too.
void deactivate(const std::string& name);
// The mapping exists and is a dm-crypt (or, while re-encrypted, linear) device of LUKS `uuid`.
bool is_mapping_of(const std::string& name, const std::string& uuid);

}  // namespace volseal
