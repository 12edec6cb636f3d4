#include "core/erase/certificate.h"

#include "core/base/base64.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/strict_json.h"
#include "core/erase/json.h"

#include <fmt/format.h>

#include <algorithm>

namespace volseal {

namespace {

constexpr std::string_view certificate_schema = "volseal-erasure/1";
constexpr std::string_view in_toto_statement = "https://in-toto.io/Statement/v1";
constexpr std::size_t largest_certificate = 16U << 20U;

// One digest for all areas of a volume: of theirs, one a line.
std::string digest_of_areas(const std::vector<ErasedArea>& areas) {
  std::string lines;
  for (const ErasedArea& area : areas) lines += area.sha256 + "\n";
  return sha256_hex(lines);
}

[[noreturn]] void bad_certificate(const char* why) {
  throw Error(Code::bad_evidence, "verify a certificate of erasure: {}", why);
}

ErasureFacts::Volume facts_of(const nlohmann::json& json) {
  ErasureFacts::Volume volume{.path = json.at("path"),
                              .luks_uuid = json.at("luks_uuid"),
                              .erased_at = json.at("erased_at"),
                              .serials = {},
                              .areas = {}};
  for (const nlohmann::json& disk : json.at("disks")) volume.serials.push_back(disk.at("serial"));
  for (const nlohmann::json& area : json.at("areas")) {
    volume.areas.push_back({.what = area.at("what"),
                            .offset = area.at("offset"),
                            .bytes = area.at("bytes"),
                            .sha256 = area.at("sha256"),
                            .direct = area.at("read_from_disk"),
                            .secure_discard = area.at("secure_discard")});
  }
  return volume;
}

}  // namespace

bool ErasureCertificate::complete() const {
  const bool copies = std::ranges::any_of(entry.volumes, [](const ErasedVolume& volume) {
    return std::ranges::any_of(volume.left, &Leftover::header);
  });
  return !copies && (!entry.cleared || entry.cleared->tpm == "cleared");
}

std::vector<std::string> erasure_limits(const ErasureEntry& entry) {
  std::vector<std::string> limits = {
      "The data itself was not overwritten. It lies there as ciphertext, and the keys that were in "
      "these areas were the way to it."};
  bool flash = false;
  bool secure = !entry.volumes.empty();
  bool cached = false;
  for (const ErasedVolume& volume : entry.volumes) {
    for (const ErasedDisk& disk : volume.disks) flash = flash || !disk.rotational;
    for (const ErasedArea& area : volume.areas) {
      secure = secure && area.secure_discard;
      cached = cached || (!area.sha256.empty() && !area.direct);
    }
  }
  limits.emplace_back(
      "What a disk has remapped is out of the computer's reach: a sector that was replaced before "
      "today keeps its old content where only the maker's tools read it. Keyslots are spread over "
      "hundreds of sectors (anti-forensic split), all of which are needed.");
  if (secure) {
    limits.emplace_back(
        "The devices have destroyed their own copies of these areas first, by their own word "
        "(secure discard).");
  } else if (flash) {
    limits.emplace_back(
        "On flash (SSD, NVMe, eMMC, SD) an overwrite goes to other cells, and the old ones stay "
        "until the controller erases them. Whoever reads the chips directly, and has a passphrase, "
        "recovery key or FIDO2 key of this volume, might still open it. Where that matters: the "
        "drive's own sanitize (nvme sanitize, hdparm --security-erase), or its destruction.");
  }
  if (cached) {
    limits.emplace_back(
        "The file system does not let this file be read past the computer's memory: that it is on "
        "the disk, too, is the kernel's word (fsync).");
  }
  limits.emplace_back(
      "Copies of the header that somebody made elsewhere (cryptsetup luksHeaderBackup, images, "
      "snapshots) are not known here; with one, and one of the old keys, the data opens.");
  return limits;
}

std::string to_json(const ErasureCertificate& certificate) {
  const ErasureEntry& entry = certificate.entry;
  ErasureJson who = ErasureJson::object();
  for (const auto& [key, value] : certificate.who) who[key] = to_valid_utf8(value);
  ErasureJson volumes = ErasureJson::array();
  for (const ErasedVolume& volume : entry.volumes) volumes.push_back(json_of(volume, true));
  std::vector<std::string> lines;
  lines.reserve(entry.table_lines.size());
  for (const std::string& line : entry.table_lines) lines.push_back(to_valid_utf8(line));
  const ErasureJson json = {
      {"schema", certificate_schema},
      {"id", entry.id},
      {"target", to_valid_utf8(entry.target)},
      {"group", entry.group},
      {"host", to_valid_utf8(certificate.host)},
      {"boot_id", certificate.boot_id},
      {"started_at", entry.started_at},
      {"made_at", certificate.made_at},
      {"version", certificate.version},
      {"who", std::move(who)},
      {"complete", certificate.complete()},
      {"proof",
       "each area was overwritten with random bytes, flushed, read again from the device past the "
       "page cache (read_from_disk) and compared byte by byte; its SHA-256 is that of what was "
       "read; after that neither volseal nor libcryptsetup finds a LUKS header"},
      {"volumes", std::move(volumes)},
      {"group_secret", entry.cleared ? json_of(*entry.cleared) : ErasureJson()},
      {"table_lines", std::move(lines)},
      {"limits", erasure_limits(entry)}};
  return json.dump(1, ' ', true) + "\n";
}

std::string erasure_statement(const ErasureCertificate& certificate, std::string_view json) {
  ErasureJson subjects = ErasureJson::array();
  for (const ErasedVolume& volume : certificate.entry.volumes) {
    subjects.push_back({{"name", to_valid_utf8("luks:" + volume.luks_uuid)},
                        {"digest", {{"sha256", digest_of_areas(volume.areas)}}}});
  }
  // in-toto wants one at least: a group without volumes is its certificate.
  if (subjects.empty()) {
    subjects.push_back(
        {{"name", "group:" + certificate.entry.group}, {"digest", {{"sha256", sha256_hex(json)}}}});
  }
  const ErasureJson statement = {{"_type", in_toto_statement},
                                 {"subject", std::move(subjects)},
                                 {"predicateType", erasure_predicate},
                                 {"predicate", {{"certificate", std::string(json)}}}};
  return statement.dump();
}

bool is_erasure_statement(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  return json.is_object() && json.contains("predicateType") &&
         json["predicateType"] == erasure_predicate;
}

ErasureFacts parse_erasure_statement(std::string_view text) {
  const std::string what = "a certificate of erasure";
  ErasureFacts facts;
  try {
    const nlohmann::json parsed = StrictJson::parse(text, largest_certificate, what);
    StrictJson statement(parsed, what);
    if (statement.text("_type", 256) != in_toto_statement ||
        statement.text("predicateType", 256) != erasure_predicate) {
      bad_certificate("it is none");
    }
    constexpr std::size_t most_volumes = 10'000;
    const nlohmann::json subjects = statement.array("subject", 1, most_volumes);
    facts.json = parsed.at("predicate").at("certificate").get<std::string>();
    const nlohmann::json json = StrictJson::parse(facts.json, largest_certificate, what);
    if (json.at("schema") != certificate_schema) bad_certificate("written by another volseal");
    facts.host = json.at("host");
    facts.target = json.at("target");
    facts.group = json.at("group");
    facts.made_at = json.at("made_at");
    facts.complete = json.at("complete");
    if (json.at("who").contains("person")) facts.person = json.at("who").at("person");
    for (const nlohmann::json& volume : json.at("volumes")) {
      facts.volumes.push_back(facts_of(volume));
      for (const nlohmann::json& left : volume.at("still_exists")) {
        facts.still_exists.push_back(left.at("what").get<std::string>() + ": " +
                                     left.at("where").get<std::string>());
      }
    }
    if (facts.volumes.empty() ? facts.group.empty() : subjects.size() != facts.volumes.size())
      bad_certificate("its subjects are not its volumes");
    for (std::size_t i = 0; i < facts.volumes.size(); ++i) {
      const ErasureFacts::Volume& volume = facts.volumes[i];
      if (subjects[i].at("name") != "luks:" + volume.luks_uuid ||
          subjects[i].at("digest").at("sha256") != digest_of_areas(volume.areas)) {
        bad_certificate("its subjects are not its volumes");
      }
    }
  } catch (const nlohmann::json::exception&) {
    bad_certificate("it lacks what one has");
  } catch (const Error& error) {
    throw Error(Code::bad_evidence, "{}", error.what());
  }
  return facts;
}

}  // namespace volseal
