#include "core/drill/drill.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/drill/forget.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace volseal {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::size_t most_drills = 4096;
constexpr std::size_t largest_file = 8U << 20U;
constexpr std::size_t longest_text = 4096;
constexpr int last_keyslot = 31;

[[noreturn]] void damaged(const char* what) {
  throw Error(Code::damaged, "read the record of drills: {}", what);
}

struct Member {
  const char* name;
  std::string Drill::* text;
};
constexpr std::array members = {Member{.name = "luks_uuid", .text = &Drill::luks_uuid},
                                Member{.name = "fingerprint", .text = &Drill::fingerprint},
                                Member{.name = "kind", .text = &Drill::kind},
                                Member{.name = "volume", .text = &Drill::volume},
                                Member{.name = "opened", .text = &Drill::opened},
                                Member{.name = "tried", .text = &Drill::tried},
                                Member{.name = "outcome", .text = &Drill::outcome},
                                Member{.name = "person", .text = &Drill::person}};

Drill drill_of(const Json& json) {
  if (!json.is_object() || json.size() != members.size() + 1)
    damaged("an entry has a member too many or too few");
  Drill drill;
  for (const Member& member : members) {
    const auto at = json.find(member.name);
    if (at == json.end() || !at->is_string()) damaged("a member is missing or no text");
    drill.*member.text = at->get<std::string>();
    if ((drill.*member.text).size() > longest_text) damaged("a text is too long");
  }
  const auto slot = json.find("keyslot");
  if (slot == json.end() || !slot->is_number_unsigned() || *slot > last_keyslot)
    damaged("a keyslot has no number");
  drill.keyslot = slot->get<int>();
  return drill;
}

// Waits for other processes.
FileLock lock_drills(const Path& state) {
  const Path file = state / "drills.lock";
  for (;;) {
    try {
      return FileLock(file);
    } catch (const Error& error) {
      if (error.code() != Code::busy) throw;
      FileLock::wait_until_free(file);
    }
  }
}

}  // namespace

std::vector<Drill> parse_drills(std::string_view text) {
  if (text.size() > largest_file) damaged("it is too long");
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || json.size() != 2 || json.value("schema", Json()) != "volseal-drills/1")
    damaged("it is of another schema");
  const auto list = json.find("drills");
  if (list == json.end() || !list->is_array() || list->size() > most_drills)
    damaged("it has no list, or one too long");
  std::vector<Drill> drills;
  for (const Json& entry : *list) drills.push_back(drill_of(entry));
  return drills;
}

std::string to_json(const std::vector<Drill>& drills) {
  Json list = Json::array();
  for (const Drill& drill : drills) {
    Json entry = {{"keyslot", drill.keyslot}};
    for (const Member& member : members) entry[member.name] = to_valid_utf8(drill.*member.text);
    list.push_back(std::move(entry));
  }
  const Json json = {{"schema", "volseal-drills/1"}, {"drills", std::move(list)}};
  return json.dump(1) + "\n";
}

std::vector<Drill> load_drills(const Path& state) {
  const auto text = read_file_if_any(state / "drills.json", largest_file);
  return text ? parse_drills(*text) : std::vector<Drill>{};
}

void note_drill(const Path& state, Drill drill) {
  make_folder(state);
  const FileLock lock = lock_drills(state);
  std::vector<Drill> drills = load_drills(state);
  if (const Drill* before = find_drill(drills, drill.luks_uuid, drill.fingerprint);
      before != nullptr && drill.opened.empty())
    drill.opened = before->opened;
  std::erase_if(drills, [&](const Drill& one) {
    return one.luks_uuid == drill.luks_uuid &&
           (one.fingerprint == drill.fingerprint || one.keyslot == drill.keyslot);
  });
  drills.push_back(std::move(drill));
  if (drills.size() > most_drills) drills.erase(drills.begin());
  write_file(state / "drills.json", to_json(drills));
}

void forget_drills(const Path& state, std::string_view luks_uuid) {
  if (!std::filesystem::exists(state / "drills.json")) return;
  const FileLock lock = lock_drills(state);
  std::vector<Drill> drills = load_drills(state);
  const auto of_volume = [&](const Drill& drill) { return drill.luks_uuid == luks_uuid; };
  if (std::erase_if(drills, of_volume) > 0) write_file(state / "drills.json", to_json(drills));
}

const Drill* find_drill(const std::vector<Drill>& drills, std::string_view luks_uuid,
                        std::string_view fingerprint) {
  const auto at = std::ranges::find_if(drills, [&](const Drill& drill) {
    return drill.luks_uuid == luks_uuid && drill.fingerprint == fingerprint;
  });
  return at == drills.end() ? nullptr : &*at;
}

}  // namespace volseal
