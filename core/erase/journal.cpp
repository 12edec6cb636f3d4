#include "core/erase/journal.h"

#include "core/base/base64.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/journals.h"
#include "core/base/log.h"
#include "core/erase/json.h"

#include <fmt/format.h>

#include <algorithm>

namespace volseal {

namespace {

constexpr std::string_view erasure_journal_schema = "volseal-erase-journal/1";

ErasePhase erase_phase_named(const std::string& name) {
  const auto at = std::ranges::find_if(erase_phases,
                                       [&](ErasePhase phase) { return to_string(phase) == name; });
  if (at == erase_phases.end())
    throw Error(Code::damaged, "read a journal: '{}' is no phase", escaped(name));
  return *at;
}

// A path or name need not be UTF-8, and JSON must be: bytes as hexadecimal where it is not.
std::string kept(const std::string& text) {
  if (to_valid_utf8(text) == text && !text.starts_with("hex:")) return text;
  return "hex:" + to_hex({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

std::string given(const std::string& text) {
  if (!text.starts_with("hex:")) return text;
  const auto bytes = from_hex(std::string_view(text).substr(4));
  if (!bytes) throw Error(Code::damaged, "read a journal: a name makes no sense");
  return {bytes->begin(), bytes->end()};
}

template <typename Text>
std::vector<std::string> each(const std::vector<std::string>& list, Text change) {
  std::vector<std::string> out;
  out.reserve(list.size());
  for (const std::string& text : list) out.push_back(change(text));
  return out;
}

ErasedArea area_of(const ErasureJson& json) {
  return {.what = json.at("what"),
          .offset = json.at("offset"),
          .bytes = json.at("bytes"),
          .sha256 = json.at("sha256"),
          .direct = json.at("read_from_disk"),
          .secure_discard = json.at("secure_discard")};
}

ErasedVolume volume_of(const ErasureJson& json) {
  const auto text = [&](const char* key) { return given(json.at(key).get<std::string>()); };
  const auto list = [&](const char* key) {
    return each(json.at(key).get<std::vector<std::string>>(), given);
  };
  ErasedVolume volume{.path = text("path"),
                      .name = text("name"),
                      .links = list("links"),
                      .size = json.at("size"),
                      .header = text("header"),
                      .luks_uuid = text("luks_uuid"),
                      .label = text("label"),
                      .version = json.at("luks_version"),
                      .cipher = text("cipher"),
                      .key_bits = json.at("key_bits"),
                      .ways = list("ways_in"),
                      .groups = list("groups"),
                      .mappings = list("mappings"),
                      .disks = {},
                      .areas = {},
                      .left = {},
                      .seed = json.at("seed"),
                      .erased_at = json.at("erased_at")};
  for (const ErasureJson& disk : json.at("disks")) {
    volume.disks.push_back({.path = given(disk.at("path")),
                            .vendor = given(disk.at("vendor")),
                            .model = given(disk.at("model")),
                            .serial = given(disk.at("serial")),
                            .wwn = given(disk.at("wwn")),
                            .bus = given(disk.at("bus")),
                            .rotational = disk.at("rotational")});
  }
  for (const ErasureJson& area : json.at("areas")) volume.areas.push_back(area_of(area));
  for (const ErasureJson& left : json.at("left")) {
    volume.left.push_back({.what = given(left.at("what")),
                           .where = given(left.at("where")),
                           .holders = given(left.at("holders")),
                           .remove = given(left.at("remove")),
                           .header = left.at("has_header"),
                           .ours = left.at("ours")});
  }
  return volume;
}

ErasureJson json_of(const ErasureEntry& entry) {
  ErasureJson volumes = ErasureJson::array();
  for (const ErasedVolume& volume : entry.volumes) volumes.push_back(json_of(volume, false));
  return {{"schema", erasure_journal_schema},
          {"id", entry.id},
          {"phase", to_string(entry.phase)},
          {"target", kept(entry.target)},
          {"group", entry.group},
          {"certificates", kept(entry.certificates)},
          {"backups", entry.backups},
          {"without_tpm", entry.without_tpm},
          {"volumes", std::move(volumes)},
          {"cleared", entry.cleared ? json_of(*entry.cleared) : ErasureJson()},
          {"table_lines", each(entry.table_lines, kept)},
          {"started_at", entry.started_at}};
}

ErasureEntry erasure_of(const ErasureJson& json) {
  if (json.at("schema") != erasure_journal_schema)
    throw Error(Code::damaged, "read a journal: its schema is unknown");
  ErasureEntry entry{.id = json.at("id"),
                     .phase = erase_phase_named(json.at("phase")),
                     .target = given(json.at("target")),
                     .group = json.at("group"),
                     .certificates = given(json.at("certificates")),
                     .backups = json.at("backups"),
                     .without_tpm = json.at("without_tpm"),
                     .volumes = {},
                     .cleared = {},
                     .table_lines = {},
                     .started_at = json.at("started_at")};
  for (const ErasureJson& volume : json.at("volumes")) entry.volumes.push_back(volume_of(volume));
  if (const ErasureJson& cleared = json.at("cleared"); !cleared.is_null()) {
    entry.cleared =
        ClearedGroup{.tpm = cleared.at("tpm"),
                     .counter = cleared.at("counter"),
                     .index = cleared.at("nv_index"),
                     .destroyed = cleared.at("destroyed").get<std::vector<std::string>>()};
  }
  entry.table_lines = each(json.at("table_lines").get<std::vector<std::string>>(), given);
  return entry;
}

}  // namespace

ErasureJson json_of(const ErasedVolume& volume, bool printable) {
  const auto text = [&](const std::string& from) {
    return printable ? to_valid_utf8(from) : kept(from);
  };
  ErasureJson disks = ErasureJson::array();
  for (const ErasedDisk& disk : volume.disks) {
    disks.push_back({{"path", text(disk.path)},
                     {"vendor", text(disk.vendor)},
                     {"model", text(disk.model)},
                     {"serial", text(disk.serial)},
                     {"wwn", text(disk.wwn)},
                     {"bus", text(disk.bus)},
                     {"rotational", disk.rotational}});
  }
  ErasureJson areas = ErasureJson::array();
  for (const ErasedArea& area : volume.areas) {
    areas.push_back({{"what", area.what},
                     {"offset", area.offset},
                     {"bytes", area.bytes},
                     {"sha256", area.sha256},
                     {"read_from_disk", area.direct},
                     {"secure_discard", area.secure_discard}});
  }
  ErasureJson left = ErasureJson::array();
  for (const Leftover& one : volume.left) {
    ErasureJson json = {{"what", text(one.what)},
                        {"where", text(one.where)},
                        {"holders", text(one.holders)},
                        {"remove", text(one.remove)},
                        {"has_header", one.header}};
    if (!printable) json["ours"] = one.ours;
    left.push_back(std::move(json));
  }
  ErasureJson json = {{"path", text(volume.path)},
                      {"name", text(volume.name)},
                      {"links", each(volume.links, text)},
                      {"size", volume.size},
                      {"header", text(volume.header)},
                      {"luks_uuid", text(volume.luks_uuid)},
                      {"label", text(volume.label)},
                      {"luks_version", volume.version},
                      {"cipher", text(volume.cipher)},
                      {"key_bits", volume.key_bits},
                      {"ways_in", each(volume.ways, text)},
                      {"groups", each(volume.groups, text)},
                      {"mappings", each(volume.mappings, text)},
                      {"disks", std::move(disks)},
                      {"areas", std::move(areas)},
                      {printable ? "still_exists" : "left", std::move(left)},
                      {"erased_at", volume.erased_at}};
  if (!printable) json["seed"] = volume.seed;
  return json;
}

ErasureJson json_of(const ClearedGroup& group) {
  std::vector<std::string> destroyed;
  destroyed.reserve(group.destroyed.size());
  for (const std::string& path : group.destroyed) destroyed.push_back(to_valid_utf8(path));
  return {{"tpm", group.tpm},
          {"counter", group.counter},
          {"nv_index", group.index},
          {"destroyed", std::move(destroyed)}};
}

std::string_view to_string(ErasePhase phase) {
  switch (phase) {
    case ErasePhase::keys: return "keys";
    case ErasePhase::group: return "group";
    case ErasePhase::tables: return "tables";
    case ErasePhase::records: return "records";
    case ErasePhase::proof: return "proof";
  }
  return "keys";
}

void ErasureJournal::write(const ErasureEntry& entry) const {
  make_folder(folder_);
  write_file(folder_ / (entry.id + ".json"), json_of(entry).dump(1, ' ', true) + "\n");
}

void ErasureJournal::remove(const ErasureEntry& entry) const {
  std::filesystem::remove(folder_ / (entry.id + ".json"));
  sync_folder(folder_);
}

std::vector<ErasureEntry> ErasureJournal::unfinished() const {
  return read_journals(folder_, erasure_of);
}

void refuse_while_erasing(const Path& state, std::string_view doing) {
  const auto unfinished = ErasureJournal(state).unfinished();
  if (unfinished.empty()) return;
  const std::string target = escaped(unfinished.front().target);
  throw Error(Code::unsafe, "{}: {} is half erased; 'volseal erase {}' goes on", doing, target,
              target);
}

void warn_of_erasures(const Path& state) {
  for (const ErasureEntry& entry : ErasureJournal(state).unfinished()) {
    log::warning("{} is half erased: nothing opens it any more; 'volseal erase {}' goes on",
                 escaped(entry.target), escaped(entry.target));
  }
}

}  // namespace volseal
