#include "core/protect/lock_token.h"

#include "core/base/escape.h"
#include "core/protect/token_json.h"

#include <fmt/format.h>

namespace volseal {

namespace {

constexpr std::size_t longest_name = 64;
constexpr std::size_t longest_time = 32;
constexpr std::size_t longest_who = 200;
constexpr std::size_t longest_why = 400;

std::string bounded(std::string_view text, std::size_t most) {
  std::string cut = to_valid_utf8(text);
  if (cut.empty()) return "unknown";
  if (cut.size() <= most) return cut;
  // Not within a character.
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(cut[end]) & 0xc0U) == 0x80U) --end;
  cut.resize(end);
  return cut;
}

}  // namespace

std::string to_json(const LockNote& note) {
  nlohmann::ordered_json json;
  json["type"] = LockNote::type;
  json["keyslots"] = keyslots_json({});
  json["version"] = 1;
  json["group"] = bounded(note.group, longest_name);
  json["since"] = bounded(note.since, longest_time);
  json["by"] = bounded(note.by, longest_who);
  json["reason"] = bounded(note.reason, longest_why);
  return token_text(json);
}

LockNote parse_lock_token(std::string_view text) {
  const TokenJson json(text, LockNote::type);
  json.only({"type", "keyslots", "version", "group", "since", "by", "reason"});
  if (!json.is_one("version")) json.damaged("it is of a version that this program does not know");
  return {.group = json.text("group", longest_name),
          .since = json.text("since", longest_time),
          .by = json.text("by", longest_who),
          .reason = json.text("reason", longest_why)};
}

std::string to_text(const LockNote& note) {
  constexpr std::size_t day = sizeof("YYYY-MM-DD") - 1;
  constexpr std::size_t minute = sizeof("YYYY-MM-DDThh:mm") - 1;
  std::string when = note.since;
  if (when.size() > minute && when[day] == 'T') {
    when = when.substr(0, minute) + " UTC";
    when[day] = ' ';
  }
  return fmt::format("group {} was locked on {} by {}: {}", note.group, when, note.by, note.reason);
}

}  // namespace volseal
