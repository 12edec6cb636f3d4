#include "core/lock/record.h"

#include "core/base/escape.h"
#include "core/base/strict_json.h"

#include <algorithm>

namespace volseal {

namespace {

constexpr std::string_view schema = "volseal-lock/1";
constexpr std::size_t longest = 16U << 10U;
constexpr std::size_t longest_note = 800;

Path place_of(const Path& state, const std::string& group) {
  // A name that is no plain file name names no group either.
  if (group.empty() || group.starts_with('.') || group.find('/') != std::string::npos)
    throw Error(Code::bad_policy, "group \"{}\": there can be none of that name", escaped(group));
  return state / "locks" / (group + ".json");
}

bool flag(StrictJson& json, const char* name) {
  const nlohmann::json& value = json.at(name);
  if (!value.is_boolean()) json.fail(fmt::format("\"{}\" is no boolean", name));
  return value.get<bool>();
}

}  // namespace

LockRecord parse_lock_record(std::string_view text) {
  const std::string what = "record of a lock";
  const nlohmann::json parsed = StrictJson::parse(text, longest, what);
  StrictJson json(parsed, what);
  if (json.text("schema", longest) != schema) json.fail("written by a newer volseal");
  LockRecord record;
  record.note = {.group = json.text("group", longest),
                 .since = json.text("since", longest),
                 .by = json.text("by", longest),
                 .reason = json.text("reason", longest)};
  record.trigger = json.text("trigger", longest);
  record.closes = flag(json, "closes");
  record.complete = flag(json, "complete");
  record.lifting = flag(json, "lifting");
  record.sealed_sha256 = json.text("sealed_sha256", longest);
  json.finish();
  return record;
}

std::string to_json(const LockRecord& record) {
  const nlohmann::ordered_json json = {{"schema", schema},
                                       {"group", to_valid_utf8(record.note.group)},
                                       {"since", to_valid_utf8(record.note.since)},
                                       {"by", to_valid_utf8(record.note.by)},
                                       {"reason", to_valid_utf8(record.note.reason)},
                                       {"trigger", record.trigger},
                                       {"closes", record.closes},
                                       {"complete", record.complete},
                                       {"lifting", record.lifting},
                                       {"sealed_sha256", record.sealed_sha256}};
  return json.dump(1) + "\n";
}

std::optional<LockRecord> load_lock(const Path& state, const std::string& group) {
  const auto text = read_file_if_any(place_of(state, group), longest);
  if (!text) return std::nullopt;
  LockRecord record = parse_lock_record(*text);
  if (record.note.group != group)
    throw Error(Code::damaged, "record of a lock: it is that of another group");
  return record;
}

void save_lock(const Path& state, const LockRecord& record) {
  make_folder(state / "locks");
  write_file(place_of(state, record.note.group), to_json(record), 0600);
}

void remove_lock(const Path& state, const std::string& group) {
  const Path place = place_of(state, group);
  if (std::filesystem::remove(place)) sync_folder(place.parent_path());
}

std::vector<std::string> locked_groups(const Path& state) {
  std::vector<std::string> groups;
  for (const Path& path : journals_in(state / "locks")) groups.push_back(path.stem().native());
  std::ranges::sort(groups);
  return groups;
}

LockedError::LockedError(std::string_view doing, const LockNote& note)
    : Error(Code::unsafe, "{}: {}", doing, escaped(to_text(note), longest_note)) {}

void refuse_locked(const Path& state, const std::string& group, std::string_view doing) {
  const auto record = load_lock(state, group);
  if (record && !record->lifting) throw LockedError(doing, record->note);
}

}  // namespace volseal
