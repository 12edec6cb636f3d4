#include "core/decrypt/journal.h"

#include "core/base/destroy.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/journals.h"
#include "core/base/log.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace volseal {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::string_view schema = "volseal-decrypt-journal/1";

DecryptPhase phase_named(const std::string& name) {
  const auto at = std::ranges::find_if(
      decrypt_phases, [&](DecryptPhase phase) { return to_string(phase) == name; });
  if (at == decrypt_phases.end())
    throw Error(Code::damaged, "read a journal: '{}' is no phase", escaped(name));
  return *at;
}

Json json_of(const DecryptionEntry& entry) {
  const DecryptionPlan& plan = entry.plan;
  Json json = {{"schema", schema},
               {"id", entry.id},
               {"phase", to_string(entry.phase)},
               {"path", plan.path},
               {"name", plan.name},
               {"links", plan.links},
               {"luks_uuid", plan.luks_uuid},
               {"size", plan.size},
               {"data_offset", plan.data_offset},
               {"open_as", plan.open_as},
               {"opened_names", plan.opened_names},
               {"content_type", plan.content_type},
               {"content_uuid", plan.content_uuid},
               {"content_label", plan.content_label},
               {"mounts", plan.mounts},
               {"swap_active", plan.swap_active},
               {"rule", plan.rule},
               {"reason", plan.reason},
               {"backup", entry.backup.native()},
               {"head", entry.head},
               {"middle", entry.middle},
               {"tail", entry.tail},
               {"started_at", entry.started_at}};
  if (plan.crypttab) {
    json["crypttab"] = {{"name", plan.crypttab->name},
                        {"source", plan.crypttab->source},
                        {"key", plan.crypttab->key},
                        {"options", plan.crypttab->options}};
  }
  return json;
}

DecryptionEntry entry_of(const Json& json) {
  if (json.at("schema") != schema)
    throw Error(Code::damaged, "read a journal: its schema is unknown");
  DecryptionEntry entry;
  DecryptionPlan& plan = entry.plan;
  entry.id = json.at("id");
  entry.phase = phase_named(json.at("phase"));
  plan.path = json.at("path");
  plan.name = json.at("name");
  plan.links = json.at("links").get<std::vector<std::string>>();
  plan.luks_uuid = json.at("luks_uuid");
  plan.size = json.at("size");
  plan.data_offset = json.at("data_offset");
  plan.open_as = json.at("open_as");
  plan.opened_names = json.at("opened_names").get<std::vector<std::string>>();
  plan.content_type = json.at("content_type");
  plan.content_uuid = json.at("content_uuid");
  plan.content_label = json.at("content_label");
  plan.mounts = json.at("mounts").get<std::vector<std::string>>();
  plan.swap_active = json.at("swap_active");
  plan.rule = json.at("rule");
  plan.reason = json.at("reason");
  if (json.contains("crypttab")) {
    const Json& line = json.at("crypttab");
    plan.crypttab = CrypttabEntry{.name = line.at("name"),
                                  .source = line.at("source"),
                                  .key = line.at("key"),
                                  .options = line.at("options")};
  }
  entry.backup = json.at("backup").get<std::string>();
  entry.head = json.at("head");
  entry.middle = json.at("middle");
  entry.tail = json.at("tail");
  entry.started_at = json.at("started_at");
  return entry;
}

}  // namespace

std::string_view to_string(DecryptPhase phase) {
  switch (phase) {
    case DecryptPhase::prepared: return "prepared";
    case DecryptPhase::holding: return "holding";
    case DecryptPhase::moving: return "moving";
    case DecryptPhase::decrypting: return "decrypting";
    case DecryptPhase::wiping: return "wiping";
    case DecryptPhase::tables: return "tables";
    case DecryptPhase::forgetting: return "forgetting";
  }
  return "prepared";
}

void DecryptionJournal::write(const DecryptionEntry& entry) const {
  make_folder(folder_);
  write_file(folder_ / (entry.id + ".json"), json_of(entry).dump(1, ' ', true) + "\n");
}

void DecryptionJournal::destroy_headers(const DecryptionEntry& entry) const {
  destroy_file(working_header(entry.id));
  destroy_file(pristine_header(entry.id));
}

void DecryptionJournal::remove(const DecryptionEntry& entry) const {
  // The journal goes last: after a cut, what it names is destroyed again.
  destroy_headers(entry);
  std::filesystem::remove(folder_ / (entry.id + ".json"));
  sync_folder(folder_);
}

std::vector<DecryptionEntry> DecryptionJournal::unfinished() const {
  return read_journals(folder_, entry_of);
}

void DecryptionJournal::remove_strays() const {
  for (const Path& stray : strays_in(folder_)) destroy_file(stray);
}

void refuse_while_decrypting(const Path& state, std::string_view doing) {
  const auto unfinished = DecryptionJournal(state).unfinished();
  if (unfinished.empty()) return;
  const DecryptionEntry& entry = unfinished.front();
  throw Error(Code::unsafe,
              "{}: {} is half decrypted (it was cut off while {}); 'volseal decrypt {}' goes on",
              doing, escaped(entry.plan.path), to_string(entry.phase), escaped(entry.plan.path));
}

void warn_of_decryptions(const Path& state) {
  for (const DecryptionEntry& entry : DecryptionJournal(state).unfinished()) {
    log::warning("{} is half decrypted: touch nothing on it; 'volseal decrypt {}' goes on",
                 escaped(entry.plan.path), escaped(entry.plan.path));
  }
}

}  // namespace volseal
