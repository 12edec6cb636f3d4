// Header backups: a copy of a volume's LUKS header and keyslots, and beside it a record of what it
// is the header of.
//
// A backup is FOLDER/UUID.luks-header, its record FOLDER/UUID.json. The record is replaced first
// and knows the SHA-256 of the backup before it too: after a cut in between, that one is there, and
// whole. Nothing here decides by what a person says: it compares what the headers say.
//
// A header with a volume key that is not that of the data makes the data noise. So a backup from
// before a re-encryption must never come back; crypt_header_restore() would let it.
#pragma once

#include "core/base/file.h"
#include "core/luks/header.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// The sidecar, schema "volseal-header-backup/1".
struct BackupRecord {
  std::string uuid;
  std::string made_at;          // RFC 3339, UTC
  std::string sha256;           // of the backup, hexadecimal
  std::string previous_sha256;  // of the backup that it replaced; "" for none
  std::string key_digest;       // as IdentifiedHeader has it
  std::vector<LuksSegment> segments;
  std::vector<int> keyslots;
  std::uint64_t device_size = 0;   // bytes
  std::vector<std::string> names;  // of the device, that stay with it: /dev/disk/by-id/... ; sorted
};

// Throws Error{damaged} for what to_json() does not write: other keys, types, sizes.
BackupRecord parse_backup_record(std::string_view text);
std::string to_json(const BackupRecord& record);

// FOLDER/UUID.luks-header. Throws Error{damaged} for a UUID that is no name of a file.
Path backup_place(const Path& folder, const std::string& uuid);
// UUID.luks-header → UUID.json; any other FILE → FILE.json.
Path record_place(const Path& backup);

// Copies the header of `device` into `file`, in the place of an older copy, with its record beside
// it. Both are whole or as before after a power cut. Waits for another process that does the same
// in that folder. `names`: see BackupRecord; an image file gets its own. Throws Error{not_luks,
// damaged, no_space, io}, and Error{unsafe} while the volume is being re-encrypted: such a header
// is out of date within seconds.
BackupRecord back_up_header(const Path& device, const Path& file, std::vector<std::string> names);

// The volume of that backup is encrypted no more: the backup and its record get the ending
// ".decrypted", where neither `header verify` nor `header restore` finds them for a volume that has
// lost its header. Returns the new name; "" where there was no backup. Repeatable after a cut.
Path set_backup_aside(const Path& file);

struct Backup {
  Path file;
  IdentifiedHeader header;             // nothing in it where `flaw` says that there is none
  std::string sha256;                  // as the file is now
  std::optional<BackupRecord> record;  // nothing: there is none beside it
  // The record is that of a newer backup, which a cut kept from taking this one's place.
  bool is_previous = false;
  std::string flaw;  // why it must not be restored onto anything; safe to print; "" for nothing
};

// Throws Error{not_found, denied, io}; what it reads comes back as a flaw.
Backup read_backup(const Path& file);

// A volume as it is now.
struct BackedUpVolume {
  std::optional<IdentifiedHeader> header;  // nothing: no header copy is good
  std::uint64_t size = 0;                  // bytes
  std::vector<std::string> names;          // as in BackupRecord
};

// By our own reader, which writes nothing. Throws Error{not_found, denied, io}.
BackedUpVolume look_at_volume(const Path& device, std::vector<std::string> names);

// Why the backup is not that of the volume as its data is encrypted now: one sentence, safe to
// print; "" where it is. Where the volume's header is lost, size and names must be those recorded.
std::string why_not_of(const Backup& backup, const BackedUpVolume& volume);

// What was changed on the volume since: "keyslot 2 was added" ... Empty: nothing.
std::vector<std::string> changes_since(const Backup& backup, const IdentifiedHeader& volume);

// What begins the device is the backup, byte for byte.
bool is_in_place(const Backup& backup, const Path& device);

// A copy of the bytes of `backup` in memory, checked against its SHA-256: what was tried on it is
// what is installed from it, and trying changes no file.
class HeaderCopy {
 public:
  explicit HeaderCopy(const Backup& backup);

  const Path& path() const { return path_; }  // for this process only

 private:
  UniqueFd fd_;
  Path path_;
};

// Writes the header to the head of the device, which nobody may have in use, and reads it back.
// What was there before is in the new file `kept` before anything is written. After a cut: again.
// Throws Error{busy, denied, io, no_space, too_small}.
void restore_header(const HeaderCopy& header, const Path& device, const Path& kept);

}  // namespace volseal
