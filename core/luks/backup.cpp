#include "core/luks/backup.h"

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/luks/encryption.h"
#include "core/luks/volume.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <set>
#include <utility>

namespace volseal {

namespace {

using Record = nlohmann::ordered_json;

constexpr std::string_view record_schema = "volseal-header-backup/1";
constexpr std::size_t most_record_text = 256U << 10U;
constexpr std::size_t most_names = 256;
constexpr std::size_t longest_name = 4096;
constexpr std::size_t most_segments = 64;
// LUKS2 on-disk format 1.1, section 2.1: two copies of at most 4 MiB, keyslots of at most 128 MiB.
constexpr std::uint64_t largest_backup = 136ULL << 20U;

bool is_uuid_name(std::string_view uuid) {
  return !uuid.empty() && uuid.size() <= 64 && std::ranges::all_of(uuid, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && from_hex(text).has_value();
}

// Gives the file piece by piece to `take`; returns its SHA-256.
std::string read_in_pieces(const Path& file, const std::function<void(std::string_view)>& take) {
  const UniqueFd fd = open_file(file, O_RDONLY | O_NONBLOCK);
  if (const std::uint64_t size = size_of(fd.get(), file); size > largest_backup) {
    throw Error(Code::damaged, "read {}: with {} it is no header backup", file.native(),
                human_size(size));
  }
  Sha256 sum;
  std::string piece(1U << 20U, '\0');
  off_t at = 0;
  for (;;) {
    const ssize_t got = ::pread(fd.get(), piece.data(), piece.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read {}", file.native());
    if (got == 0) return sum.end();
    const std::string_view read(piece.data(), static_cast<std::size_t>(got));
    sum.add(read);
    take(read);
    at += got;
  }
}

std::string sha256_of(const Path& file) {
  return read_in_pieces(file, [](std::string_view) {});
}

[[noreturn]] void bad_record(const std::string& why) {
  throw Error(Code::damaged, "read the record of a header backup: {}", why);
}

// Strict: the keys that are named, each of its type, and no other.
class RecordReader {
 public:
  RecordReader(const Record& json, const std::set<std::string>& keys) : json_(json) {
    if (!json.is_object()) bad_record("it is no object");
    for (const auto& [key, value] : json.items()) {
      if (!keys.contains(key)) bad_record(fmt::format("unknown key '{}'", escaped(key, 60)));
    }
    for (const std::string& key : keys) {
      if (!json.contains(key)) bad_record(fmt::format("'{}' is missing", key));
    }
  }

  std::string text(const char* key) const {
    const Record& value = json_.at(key);
    if (!value.is_string()) wrong(key);
    const auto& text = value.get_ref<const std::string&>();
    if (text.size() > longest_name) wrong(key);
    return text;
  }
  std::uint64_t number(const char* key, std::uint64_t most = UINT64_MAX) const {
    const Record& value = json_.at(key);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most) wrong(key);
    return value.get<std::uint64_t>();
  }
  const Record& list(const char* key, std::size_t most) const {
    const Record& value = json_.at(key);
    if (!value.is_array() || value.size() > most) wrong(key);
    return value;
  }
  bool is_null(const char* key) const { return json_.at(key).is_null(); }

  [[noreturn]] static void wrong(const char* key) {
    bad_record(fmt::format("'{}' makes no sense", key));
  }

 private:
  const Record& json_;
};

LuksSegment segment_of(const Record& json) {
  const RecordReader reader(json, {"type", "offset", "size", "cipher", "sector_size", "integrity"});
  LuksSegment segment;
  segment.type = reader.text("type");
  segment.offset = reader.number("offset");
  if (!reader.is_null("size")) segment.size = reader.number("size");
  segment.cipher = reader.text("cipher");
  segment.sector_size = static_cast<std::uint32_t>(reader.number("sector_size", 1U << 20U));
  segment.integrity = reader.text("integrity");
  return segment;
}

Record record_of(const LuksSegment& segment) {
  return {{"type", to_valid_utf8(segment.type)},
          {"offset", segment.offset},
          {"size", segment.size ? Record(*segment.size) : Record()},
          {"cipher", to_valid_utf8(segment.cipher)},
          {"sector_size", segment.sector_size},
          {"integrity", to_valid_utf8(segment.integrity)}};
}

std::vector<int> ids_of(const std::map<int, std::string>& fingerprints) {
  std::vector<int> ids;
  ids.reserve(fingerprints.size());
  for (const auto& [id, fingerprint] : fingerprints) ids.push_back(id);
  return ids;
}

// Names of one kind can be compared: a disk has its serial number whatever it is plugged into, and
// a place has whatever disk is plugged in there. Partition labels are chosen by anybody.
enum class NameKind { by_id, by_partition, own, by_place, weak };

NameKind kind_of_name(std::string_view name) {
  if (name.starts_with("/dev/disk/by-id/")) return NameKind::by_id;
  if (name.starts_with("/dev/disk/by-partuuid/")) return NameKind::by_partition;
  if (name.starts_with("/dev/disk/by-path/")) return NameKind::by_place;
  if (name.starts_with("/dev/disk/")) return NameKind::weak;
  return NameKind::own;  // /dev/VG/LV, an image file
}

// By the best kind of name that both have; nothing where there is none.
std::optional<bool> same_names(const std::vector<std::string>& one,
                               const std::vector<std::string>& other) {
  for (const NameKind kind :
       {NameKind::by_id, NameKind::by_partition, NameKind::own, NameKind::by_place}) {
    const auto of_kind = [&](const std::vector<std::string>& names) {
      std::set<std::string> chosen;
      for (const std::string& name : names) {
        if (kind_of_name(name) == kind) chosen.insert(name);
      }
      return chosen;
    };
    const std::set<std::string> left = of_kind(one);
    const std::set<std::string> right = of_kind(other);
    if (left.empty() || right.empty()) continue;
    return std::ranges::any_of(left, [&](const std::string& name) { return right.contains(name); });
  }
  return std::nullopt;
}

bool is_regular(const Path& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

// Why no volume should get this header, whichever it is.
std::string flaw_of(const Backup& backup, std::uint64_t size) {
  const LuksHeader& header = backup.header.header;
  if (!header.damage.empty()) return fmt::format("it is damaged: {}", escaped(header.damage));
  if (size < backup.header.bytes && header.version == 2) {
    return fmt::format("it is cut off: {} of {} bytes", size, backup.header.bytes);
  }
  if (backup.header.key_digest.empty() || header.keyslots.empty()) {
    return "no keyslot in it opens anything";
  }
  if (!header.reencryption.empty() || !header.requirements.empty()) {
    return "it was made while the volume was being re-encrypted";
  }
  for (const LuksSegment& segment : header.segments) {
    if (segment.type != "crypt" || is_null_cipher(segment.cipher)) {
      return "it describes a volume that is not encrypted";
    }
  }
  return "";
}

// The record beside it, and what it says against the backup.
void compare_with_record(Backup& backup) {
  std::optional<std::string> text;
  try {
    text = read_file_if_any(record_place(backup.file), most_record_text);
    if (!text) return;
    backup.record = parse_backup_record(*text);
  } catch (const Error& error) {
    if (error.code() != Code::damaged) throw;
    backup.flaw = fmt::format("its record cannot be used: {}", escaped(error.what()));
    return;
  }
  const BackupRecord& record = *backup.record;
  backup.is_previous = backup.sha256 != record.sha256 && backup.sha256 == record.previous_sha256;
  if (backup.sha256 != record.sha256 && !backup.is_previous) {
    backup.flaw = "it is damaged: its SHA-256 is not the one recorded";
    return;
  }
  if (!backup.flaw.empty()) return;
  const LuksHeader& header = backup.header.header;
  if (header.uuid != record.uuid) {
    backup.flaw = "the record beside it is that of another volume";
  } else if (backup.header.key_digest != record.key_digest || header.segments != record.segments) {
    backup.flaw = backup.is_previous ? "it is older than the last re-encryption of its volume"
                                     : "it is not the header that its record describes";
  }
}

// One process at a time makes a backup in a folder.
UniqueFd lock_folder(const Path& folder) {
  UniqueFd fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) throw_errno(errno, "lock {}", folder.native());
  }
  return fd;
}

// A backup that can be trusted to be that of the volume, else "".
std::string sha256_of_sound(const Path& file) {
  if (!std::filesystem::exists(file)) return "";
  const Backup old = read_backup(file);
  return old.flaw.empty() ? old.sha256 : "";
}

void require_settled(const Path& device, const IdentifiedHeader& header) {
  if (header.header.reencryption.empty() && header.header.requirements.empty()) return;
  throw Error(Code::unsafe,
              "back up the header of {}: the volume is being re-encrypted, and the copy would be "
              "out of date at once",
              device.native());
}

}  // namespace

BackupRecord parse_backup_record(std::string_view text) {
  if (text.size() > most_record_text) bad_record("it is too large");
  // Three levels are all that it has; what is deeper is not looked at.
  const auto shallow = [](int depth, Record::parse_event_t /*event*/, Record& /*value*/) {
    if (depth > 4) bad_record("it is nested too deeply");
    return true;
  };
  const Record json = Record::parse(text, shallow, false);
  if (json.is_discarded()) bad_record("it is no JSON");
  const RecordReader reader(json, {"schema", "uuid", "made_at", "sha256", "previous_sha256",
                                   "key_digest", "segments", "keyslots", "device_size", "names"});
  if (reader.text("schema") != record_schema) RecordReader::wrong("schema");
  BackupRecord record;
  record.uuid = reader.text("uuid");
  if (!is_uuid_name(record.uuid)) RecordReader::wrong("uuid");
  record.made_at = reader.text("made_at");
  record.sha256 = reader.text("sha256");
  if (!is_sha256(record.sha256)) RecordReader::wrong("sha256");
  record.previous_sha256 = reader.text("previous_sha256");
  if (!record.previous_sha256.empty() && !is_sha256(record.previous_sha256)) {
    RecordReader::wrong("previous_sha256");
  }
  record.key_digest = reader.text("key_digest");
  if (!is_sha256(record.key_digest)) RecordReader::wrong("key_digest");
  for (const Record& segment : reader.list("segments", most_segments)) {
    record.segments.push_back(segment_of(segment));
  }
  for (const Record& keyslot : reader.list("keyslots", most_segments)) {
    if (!keyslot.is_number_unsigned() || keyslot.get<std::uint64_t>() > 63) {
      RecordReader::wrong("keyslots");
    }
    record.keyslots.push_back(keyslot.get<int>());
  }
  record.device_size = reader.number("device_size");
  for (const Record& name : reader.list("names", most_names)) {
    if (!name.is_string() || name.get_ref<const std::string&>().size() > longest_name) {
      RecordReader::wrong("names");
    }
    record.names.push_back(name.get<std::string>());
  }
  return record;
}

std::string to_json(const BackupRecord& record) {
  Record segments = Record::array();
  for (const LuksSegment& segment : record.segments) segments.push_back(record_of(segment));
  Record names = Record::array();
  for (const std::string& name : record.names) names.push_back(to_valid_utf8(name));
  const Record json = {{"schema", record_schema},
                       {"uuid", record.uuid},
                       {"made_at", record.made_at},
                       {"sha256", record.sha256},
                       {"previous_sha256", record.previous_sha256},
                       {"key_digest", record.key_digest},
                       {"segments", std::move(segments)},
                       {"keyslots", record.keyslots},
                       {"device_size", record.device_size},
                       {"names", std::move(names)}};
  return json.dump(1, ' ', true) + "\n";
}

Path backup_place(const Path& folder, const std::string& uuid) {
  if (!is_uuid_name(uuid)) {
    throw Error(Code::damaged, "name a header backup: '{}' is no UUID", escaped(uuid));
  }
  return folder / (uuid + ".luks-header");
}

Path record_place(const Path& backup) {
  if (backup.extension() == ".luks-header") return Path(backup).replace_extension(".json");
  return Path(backup) += ".json";
}

BackupRecord back_up_header(const Path& device, const Path& file, std::vector<std::string> names) {
  const Path folder = file.has_parent_path() ? file.parent_path() : Path(".");
  make_folder(folder);
  const UniqueFd lock = lock_folder(folder);
  if (const auto header = identify_header(device)) require_settled(device, *header);
  const Volume volume = Volume::load(device);

  // Left by a cut, or never there.
  const Path fresh = folder / fmt::format(".{}.new", file.filename().native());
  std::filesystem::remove(fresh);
  const Finally clean([&] {
    std::error_code gone;
    std::filesystem::remove(fresh, gone);
  });
  volume.copy_header(fresh);
  sync_fd(open_file(fresh, O_RDONLY).get(), fresh.native());

  Backup copy = read_backup(fresh);
  const LuksHeader& header = copy.header.header;
  if (copy.flaw.empty() && header.uuid != volume.uuid()) copy.flaw = "it is another volume's";
  if (!copy.flaw.empty()) {
    throw Error(Code::damaged, "back up the header of {}: {}", device.native(), copy.flaw);
  }
  if (is_regular(device)) names = {std::filesystem::canonical(device).native()};
  std::erase_if(names, [](const std::string& name) { return name.size() > longest_name; });
  std::ranges::sort(names);
  if (names.size() > most_names) names.resize(most_names);
  const BackupRecord record{.uuid = header.uuid,
                            .made_at = utc_now(),
                            .sha256 = copy.sha256,
                            .previous_sha256 = sha256_of_sound(file),
                            .key_digest = copy.header.key_digest,
                            .segments = header.segments,
                            .keyslots = ids_of(copy.header.keyslots),
                            .device_size = size_of(device),
                            .names = std::move(names)};
  write_file(record_place(file), to_json(record));
  std::filesystem::rename(fresh, file);
  sync_folder(folder);
  return record;
}

Path set_backup_aside(const Path& file) {
  Path aside = file;
  aside += ".decrypted";
  // The record goes first: without it the backup is restored to nothing.
  for (const auto& [from, to] :
       {std::pair(record_place(file), record_place(aside)), std::pair(file, aside)}) {
    if (std::filesystem::exists(from)) std::filesystem::rename(from, to);
  }
  if (!std::filesystem::exists(aside)) return {};
  sync_folder(file.has_parent_path() ? file.parent_path() : Path("."));
  return aside;
}

Backup read_backup(const Path& file) {
  Backup backup{
      .file = file, .header = {}, .sha256 = {}, .record = {}, .is_previous = false, .flaw = {}};
  const std::uint64_t size = size_of(file);
  if (size > largest_backup) {
    backup.flaw = fmt::format("with {} it is no header backup", human_size(size));
    return backup;
  }
  backup.sha256 = sha256_of(file);
  if (auto header = identify_header(file)) {
    backup.header = std::move(*header);
    backup.flaw = flaw_of(backup, size);
  } else {
    backup.flaw = "there is no LUKS header in it";
  }
  compare_with_record(backup);
  return backup;
}

BackedUpVolume look_at_volume(const Path& device, std::vector<std::string> names) {
  if (!std::filesystem::exists(device)) {
    throw Error(Code::not_found, "open {}: there is no such device or file", device.native());
  }
  BackedUpVolume volume;
  volume.header = identify_header(device);
  // No copy of it is good: nothing that it says can be compared.
  if (volume.header && (volume.header->header.uuid.empty() || volume.header->key_digest.empty())) {
    volume.header.reset();
  }
  volume.size = size_of(device);
  volume.names = std::move(names);
  if (is_regular(device)) volume.names = {std::filesystem::canonical(device).native()};
  return volume;
}

std::string why_not_of(const Backup& backup, const BackedUpVolume& volume) {
  if (!backup.flaw.empty()) return backup.flaw;
  const LuksHeader& ours = backup.header.header;
  if (volume.header) {
    const LuksHeader& theirs = volume.header->header;
    if (ours.uuid != theirs.uuid) {
      return fmt::format("it is the header of volume {}, and this volume is {}", escaped(ours.uuid),
                         escaped(theirs.uuid));
    }
    if (!theirs.reencryption.empty() || !theirs.requirements.empty()) {
      return "the volume is being re-encrypted; only its own header knows how far";
    }
    if (backup.header.key_digest != volume.header->key_digest || ours.segments != theirs.segments) {
      return "the volume's header has another volume key or other segments by now: it was "
             "re-encrypted or formatted since, and with this header its data would be noise";
    }
    return "";
  }
  if (!backup.record) {
    return "the volume's header is lost, and no record beside the backup says which device it "
           "belongs to";
  }
  const BackupRecord& record = *backup.record;
  if (volume.size != record.device_size) {
    return fmt::format(
        "the volume's header is lost, and its size is not that of the volume that was backed up "
        "({} and {} bytes)",
        volume.size, record.device_size);
  }
  const auto same = same_names(record.names, volume.names);
  if (!same) {
    return "the volume's header is lost, and there is no lasting name by which to tell it from "
           "others of its size; 'cryptsetup luksHeaderRestore' does not ask";
  }
  if (!*same) {
    return fmt::format("the volume's header is lost, and the backup is that of another device ({})",
                       escaped(record.names.front()));
  }
  return "";
}

std::vector<std::string> changes_since(const Backup& backup, const IdentifiedHeader& volume) {
  std::vector<std::string> changes;
  const auto compare = [&](const char* what, const std::map<int, std::string>& then,
                           const std::map<int, std::string>& now) {
    for (const auto& [id, fingerprint] : now) {
      const auto old = then.find(id);
      if (old == then.end()) {
        changes.push_back(fmt::format("{} {} was added", what, id));
      } else if (old->second != fingerprint) {
        changes.push_back(fmt::format("{} {} was changed", what, id));
      }
    }
    for (const auto& [id, fingerprint] : then) {
      if (!now.contains(id)) changes.push_back(fmt::format("{} {} was removed", what, id));
    }
  };
  compare("keyslot", backup.header.keyslots, volume.keyslots);
  compare("token", backup.header.tokens, volume.tokens);
  // Such as a label: no way in was changed.
  if (changes.empty() && backup.header.sequence != volume.sequence) {
    changes.emplace_back("something beside keyslots and tokens was changed");
  }
  return changes;
}

bool is_in_place(const Backup& backup, const Path& device) {
  Sha256 sum;
  sum.add(read_head(device, size_of(backup.file)));
  return sum.end() == backup.sha256;
}

HeaderCopy::HeaderCopy(const Backup& backup)
    : fd_(::memfd_create("volseal-header", MFD_CLOEXEC)),
      path_(fmt::format("/proc/self/fd/{}", fd_.get())) {
  if (!fd_) throw_errno(errno, "copy {}", backup.file.native());
  const std::string sum = read_in_pieces(backup.file, [&](std::string_view piece) {
    write_all(fd_.get(), piece, "a copy of the header");
  });
  if (sum != backup.sha256) {
    throw Error(Code::damaged, "copy {}: it changes while it is read", backup.file.native());
  }
}

void restore_header(const HeaderCopy& header, const Path& device, const Path& kept) {
  // Held to the end: nobody mounts or maps it meanwhile.
  UniqueFd claim;
  if (!is_regular(device)) {
    claim = UniqueFd(::open(device.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    if (!claim && errno == EBUSY) {
      throw Error(Code::busy, "restore the header of {}: it is in use", device.native());
    }
    if (!claim) throw_errno(errno, "open {}", device.native());
  }
  const std::uint64_t size = size_of(header.path());
  if (size > size_of(device)) {
    throw Error(Code::too_small, "restore the header of {}: the header takes {}", device.native(),
                human_size(size));
  }
  write_file(kept, read_head(device, size), 0400);
  install_header(header.path(), device, false);
}

}  // namespace volseal
