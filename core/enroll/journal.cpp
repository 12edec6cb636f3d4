#include "core/enroll/journal.h"

#include "core/base/error.h"
#include "core/base/journals.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace volseal {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::array phases = {
    Phase::prepared, Phase::extending, Phase::shrinking,  Phase::masking, Phase::merging,
    Phase::wiping,   Phase::moving,    Phase::installing, Phase::tables,  Phase::encrypting,
    Phase::growing,  Phase::filling,   Phase::binding};
constexpr std::array rooms = {Room::shrink, Room::tail, Room::extend};
constexpr std::array tasks = {Task::encrypt_in_place, Task::resume, Task::format,
                              Task::encrypt_swap,     Task::adopt,  Task::convert};

template <typename T, std::size_t N>
T named(const std::array<T, N>& values, const std::string& name) {
  const auto at = std::ranges::find_if(values, [&](T value) { return to_string(value) == name; });
  if (at == values.end())
    throw Error(Code::damaged, "read a journal: '{}' is no phase or task", name);
  return *at;
}

Json json_of(const JournalEntry& entry) {
  const VolumePlan& plan = entry.plan;
  return {{"schema", "volseal-journal/1"},
          {"id", entry.id},
          {"phase", to_string(entry.phase)},
          {"task", to_string(plan.task)},
          {"path", plan.path},
          {"name", plan.name},
          {"links", entry.links},
          {"size", plan.size},
          {"luks_uuid", entry.luks_uuid},
          {"mapping", plan.mapping},
          {"group", plan.group},
          {"content_type", plan.content_type},
          {"content_uuid", plan.content_uuid},
          {"content_label", plan.content_label},
          {"content_size", plan.content_size},
          {"cipher", plan.cipher},
          {"key_bits", plan.key_bits},
          {"sector_size", plan.sector_size},
          {"crypttab_options", plan.crypttab_options},
          {"filesystem", plan.filesystem},
          {"mount", plan.mount},
          {"mounts", plan.mounts},
          {"swap_active", plan.swap_active},
          {"bytes", plan.bytes},
          {"room", to_string(plan.room)},
          {"used_only", plan.used_only},
          {"shrunk", entry.shrunk},
          {"moved", entry.moved},
          {"window", entry.window},
          {"replaced", entry.replaced},
          {"started_at", entry.started_at}};
}

JournalEntry entry_of(const Json& json) {
  if (json.at("schema") != "volseal-journal/1")
    throw Error(Code::damaged, "read a journal: its schema is unknown");
  JournalEntry entry;
  VolumePlan& plan = entry.plan;
  entry.id = json.at("id");
  entry.phase = named(phases, json.at("phase"));
  plan.task = named(tasks, json.at("task"));
  plan.path = json.at("path");
  plan.name = json.at("name");
  entry.links = json.at("links");
  plan.size = json.at("size");
  entry.luks_uuid = json.at("luks_uuid");
  plan.mapping = json.at("mapping");
  plan.group = json.at("group");
  plan.content_type = json.at("content_type");
  plan.content_uuid = json.at("content_uuid");
  plan.content_label = json.at("content_label");
  plan.cipher = json.at("cipher");
  plan.key_bits = json.at("key_bits");
  plan.sector_size = json.at("sector_size");
  plan.filesystem = json.at("filesystem");
  plan.mount = json.at("mount");
  plan.mounts = json.at("mounts").get<std::vector<std::string>>();
  plan.swap_active = json.at("swap_active");
  plan.bytes = json.at("bytes");
  // What the first release did not write.
  plan.content_size = json.value("content_size", std::uint64_t{0});
  plan.room = named(rooms, json.value("room", "shrink"));
  plan.used_only = json.value("used_only", false);
  plan.crypttab_options = json.value("crypttab_options", "");
  entry.shrunk = json.value("shrunk", std::uint64_t{0});
  entry.moved = json.value("moved", std::uint64_t{0});
  entry.window = json.value("window", std::uint64_t{0});
  entry.replaced = json.value("replaced", "");
  entry.started_at = json.at("started_at");
  return entry;
}

void remove_if_any(const Path& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

}  // namespace

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::prepared: return "prepared";
    case Phase::extending: return "extending";
    case Phase::shrinking: return "shrinking";
    case Phase::masking: return "masking";
    case Phase::merging: return "merging";
    case Phase::wiping: return "wiping";
    case Phase::moving: return "moving";
    case Phase::installing: return "installing";
    case Phase::tables: return "tables";
    case Phase::encrypting: return "encrypting";
    case Phase::growing: return "growing";
    case Phase::filling: return "filling";
    case Phase::binding: return "binding";
  }
  return "prepared";
}

void Journal::write(const JournalEntry& entry) const {
  make_folder(folder_);
  write_file(file(entry.id), json_of(entry).dump(1) + "\n");
}

void Journal::remove(const JournalEntry& entry) const {
  // The journal goes first: without it, what is left of the header files is a stray.
  remove_if_any(file(entry.id));
  sync_folder(folder_);
  remove_strays();
}

std::vector<JournalEntry> Journal::unfinished() const {
  return read_journals(folder_, entry_of);
}

void Journal::remove_strays() const {
  for (const Path& stray : strays_in(folder_)) remove_if_any(stray);
}

}  // namespace volseal
