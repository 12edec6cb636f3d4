#include "core/enroll/replacement.h"

#include "core/base/error.h"
#include "core/enroll/protectors.h"
#include "core/luks/header.h"

#include <nlohmann/json.hpp>

#include <utility>

namespace volseal {

namespace {

using ReplaceJson = nlohmann::ordered_json;

constexpr const char* journal_schema = "volseal-replace/1";
constexpr std::size_t largest_journal = 4096;

// "" where there is no such keyslot.
std::string print_of(const Volume& volume, int slot) {
  const auto header = identify_header(volume.path());
  if (!header) return "";
  const auto at = header->keyslots.find(slot);
  return at == header->keyslots.end() ? "" : at->second;
}

std::string uuid_as_name(const Volume& volume) {
  const std::string uuid = volume.uuid();
  // It comes from the device, and becomes the name of a file.
  for (const char c : uuid) {
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
    if (!hex) throw Error(Code::damaged, "read the UUID of {}: it is none", volume.path().native());
  }
  return uuid;
}

}  // namespace

Path Replacement::file_of(const Volume& volume) const {
  return folder_ / (uuid_as_name(volume) + ".json");
}

std::optional<Replacement::Entry> Replacement::load(const Volume& volume) const {
  const Path file = file_of(volume);
  const auto text = read_file_if_any(file, largest_journal);
  if (!text) return std::nullopt;
  const ReplaceJson json = ReplaceJson::parse(*text, nullptr, false);
  try {
    if (json.at("schema") != journal_schema) throw Error(Code::damaged, "schema");
    Entry entry{.old = json.at("old").get<int>(),
                .old_print = json.at("old_print").get<std::string>(),
                .fresh = {},
                .fresh_print = json.at("fresh_print").get<std::string>(),
                .handed_over = json.at("handed_over").get<bool>()};
    if (!json.at("fresh").is_null()) entry.fresh = json.at("fresh").get<int>();
    return entry;
  } catch (const std::exception&) {
    throw Error(Code::damaged,
                "read the journal {}: it is not what volseal wrote; the volume is "
                "left as it is",
                file.native());
  }
}

void Replacement::save(const Volume& volume, const Entry& entry) const {
  make_folder(folder_);
  const ReplaceJson json = {{"schema", journal_schema},
                            {"old", entry.old},
                            {"old_print", entry.old_print},
                            {"fresh", entry.fresh ? ReplaceJson(*entry.fresh) : ReplaceJson()},
                            {"fresh_print", entry.fresh_print},
                            {"handed_over", entry.handed_over}};
  write_file(file_of(volume), json.dump(1) + "\n");
}

void Replacement::forget(const Volume& volume) const {
  std::filesystem::remove(file_of(volume));
  sync_folder(folder_);
}

Replacement::Left Replacement::finish(Volume& volume) const {
  const auto entry = load(volume);
  if (!entry) return Left::nothing;
  const bool has_old =
      !entry->old_print.empty() && print_of(volume, entry->old) == entry->old_print;
  const bool has_fresh = entry->fresh && print_of(volume, *entry->fresh) == entry->fresh_print;
  Left left = Left::begun;
  if (has_old && has_fresh) {
    remove_protector(volume, entry->handed_over ? entry->old : *entry->fresh);
    left = entry->handed_over ? Left::finished : Left::taken_back;
  } else if (has_fresh && entry->handed_over) {
    left = Left::finished;
  } else if (has_old && entry->fresh && !entry->handed_over) {
    left = Left::taken_back;
  }
  forget(volume);
  return left;
}

int Replacement::carry_out(Volume& volume, int old, const std::function<int()>& add,
                           const std::function<void(int slot)>& hand_over) const {
  if (load(volume)) {
    throw Error(Code::busy, "replace a key of {}: an earlier replacement was cut off",
                volume.path().native());
  }
  Entry entry{.old = old,
              .old_print = print_of(volume, old),
              .fresh = {},
              .fresh_print = "",
              .handed_over = false};
  if (entry.old_print.empty()) {
    throw Error(Code::not_found, "replace keyslot {} of {}: there is none", old,
                volume.path().native());
  }
  save(volume, entry);
  try {
    entry.fresh = add();
    entry.fresh_print = print_of(volume, *entry.fresh);
    save(volume, entry);
    hand_over(*entry.fresh);
  } catch (...) {
    // A key that nobody has is a keyslot that nobody can use.
    if (entry.fresh) remove_protector(volume, *entry.fresh);
    forget(volume);
    throw;
  }
  entry.handed_over = true;
  save(volume, entry);
  remove_protector(volume, old);
  forget(volume);
  return *entry.fresh;
}

}  // namespace volseal
