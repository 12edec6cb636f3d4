#include "core/watch/book.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t most_bytes = 64U << 10U;

// "" for what is no text.
std::string text_of(const Json& json, const char* key) {
  const auto at = json.find(key);
  return at != json.end() && at->is_string() ? at->get<std::string>() : "";
}

Json parse(std::string_view text) {
  return Json::parse(text, nullptr, false);
}

void remove_file(const Path& file) {
  std::error_code error;
  std::filesystem::remove(file, error);
  if (error) log::warning("{} stays: {}", file.native(), error.message());
}

// Files that are named otherwise are left out.
std::set<DeviceId> ids_in(const Path& folder) {
  std::set<DeviceId> all;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename();
    const std::size_t dot = name.rfind('.');
    if (dot == std::string::npos || dot == 0) continue;
    DeviceId id{.name = name.substr(0, dot)};
    const char* last = name.data() + name.size();
    if (std::from_chars(name.data() + dot + 1, last, id.diskseq).ptr == last) all.insert(id);
  }
  return all;
}

}  // namespace

std::string to_json(const Held& held) {
  const Json json = {{"schema", "volseal-quarantine/1"}, {"name", to_valid_utf8(held.id.name)},
                     {"diskseq", held.id.diskseq},       {"path", to_valid_utf8(held.path)},
                     {"rule", to_valid_utf8(held.rule)}, {"reason", to_valid_utf8(held.reason)},
                     {"from", to_valid_utf8(held.from)}, {"since", held.since}};
  return json.dump(-1, ' ', true);
}

std::optional<Held> held_from_json(std::string_view text) {
  const Json json = parse(text);
  if (!json.is_object() || text_of(json, "schema") != "volseal-quarantine/1") return std::nullopt;
  const auto diskseq = json.find("diskseq");
  if (diskseq == json.end() || !diskseq->is_number_unsigned()) return std::nullopt;
  Held held{.id = {.name = text_of(json, "name"), .diskseq = diskseq->get<std::uint64_t>()},
            .path = text_of(json, "path"),
            .rule = text_of(json, "rule"),
            .reason = text_of(json, "reason"),
            .from = text_of(json, "from"),
            .since = text_of(json, "since")};
  if (held.id.name.empty() || held.id.name.contains('/')) return std::nullopt;
  return held;
}

void Book::prepare() const {
  for (const char* name : {"quarantine", "released", "cleared"}) make_folder(folder_ / name);
}

void Book::hold(const Held& held) const {
  write_file(folder_ / "quarantine" / to_string(held.id), to_json(held) + "\n");
}

void Book::forget(const DeviceId& id) const {
  remove_file(folder_ / "quarantine" / to_string(id));
}

bool Book::is_held(const DeviceId& id) const {
  std::error_code error;
  return std::filesystem::exists(folder_ / "quarantine" / to_string(id), error);
}

std::vector<Held> Book::held() const {
  std::vector<Held> all;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder_ / "quarantine", error), end;
       !error && at != end; at.increment(error)) {
    if (at->path().filename().native().starts_with('.')) continue;
    const auto text = read_file_if_any(at->path(), most_bytes);
    if (!text) continue;
    if (auto held = held_from_json(*text)) all.push_back(std::move(*held));
  }
  std::ranges::sort(all, {}, &Held::id);
  return all;
}

void Book::release(const DeviceId& id, const Release& release) const {
  const Json json = {{"reason", to_valid_utf8(release.reason)},
                     {"who", to_valid_utf8(release.who)},
                     {"when", release.when}};
  write_file(released_folder() / to_string(id), json.dump(-1, ' ', true) + "\n");
}

std::optional<Release> Book::released(const DeviceId& id) const {
  const auto text = read_file_if_any(released_folder() / to_string(id), most_bytes);
  if (!text) return std::nullopt;
  const Json json = parse(*text);
  if (!json.is_object()) return std::nullopt;
  return Release{.reason = text_of(json, "reason"),
                 .who = text_of(json, "who"),
                 .when = text_of(json, "when")};
}

void Book::clear(const DeviceId& id) const {
  write_file(folder_ / "cleared" / to_string(id), "");
}

void Book::forget_cleared(const DeviceId& id) const {
  remove_file(folder_ / "cleared" / to_string(id));
}

std::set<DeviceId> Book::cleared() const {
  return ids_in(folder_ / "cleared");
}

std::set<DeviceId> Book::released() const {
  return ids_in(released_folder());
}

void Book::first_moment(bool wanted) const {
  const Path mark = folder_ / "first-moment";
  if (wanted)
    write_file(mark, "");
  else
    remove_file(mark);
}

}  // namespace volseal
