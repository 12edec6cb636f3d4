#include "core/audit/record.h"

#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace volseal::audit {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t max_text = 1024;
constexpr std::size_t max_details = 32;

// Valid UTF-8 of at most `limit` bytes, cut between characters; doing it twice changes nothing.
std::string text_of(std::string_view text, std::size_t limit = max_text) {
  std::string valid = to_valid_utf8(text.substr(0, limit));
  if (valid.size() <= limit) return valid;
  std::size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(valid[end]) & 0xc0U) == 0x80) --end;
  valid.resize(end);
  return valid;
}

Json json_of(const Actor& who) {
  return {
      {"loginuid", who.loginuid ? Json(*who.loginuid) : Json(nullptr)},
      {"uid", who.uid},
      {"euid", who.euid},
      {"tty", text_of(who.tty)},
      {"session", text_of(who.session)},
      {"remote", text_of(who.remote)},
      {"ssh", text_of(who.ssh)},
      {"unit", text_of(who.unit)},
      {"pid", who.pid},
      {"program", text_of(who.program)},
      {"verb", text_of(who.verb)},
  };
}

Json json_of(const std::map<std::string, std::string>& detail) {
  Json json = Json::object();
  for (const auto& [key, value] : detail) {
    if (json.size() == max_details) break;
    json[text_of(key, 64)] = text_of(value);
  }
  return json;
}

Actor actor_of(const Json& json) {
  Actor who;
  if (const Json& loginuid = json.at("loginuid"); !loginuid.is_null()) {
    who.loginuid = loginuid.get<std::uint32_t>();
  }
  json.at("uid").get_to(who.uid);
  json.at("euid").get_to(who.euid);
  json.at("tty").get_to(who.tty);
  json.at("session").get_to(who.session);
  json.at("remote").get_to(who.remote);
  json.at("ssh").get_to(who.ssh);
  json.at("unit").get_to(who.unit);
  json.at("pid").get_to(who.pid);
  json.at("program").get_to(who.program);
  json.at("verb").get_to(who.verb);
  return who;
}

}  // namespace

std::string to_line(const AuditRecord& record) {
  const Json json = {
      {"schema", schema},
      {"seq", record.seq},
      {"time", text_of(record.time)},
      {"boot_ms", record.boot_ms},
      {"boot_id", text_of(record.boot_id)},
      {"host", text_of(record.host)},
      {"who", json_of(record.who)},
      {"action", text_of(record.event.action)},
      {"outcome", text_of(record.event.outcome)},
      {"volume", text_of(record.event.volume)},
      {"luks_uuid", text_of(record.event.luks_uuid)},
      {"group", text_of(record.event.group)},
      {"detail", json_of(record.event.detail)},
      {"prev", text_of(record.prev)},
  };
  return json.dump(-1, ' ', true);
}

std::optional<AuditRecord> from_line(std::string_view line) {
  if (line.size() > max_line) return std::nullopt;
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  AuditRecord record;
  try {
    if (json.at("schema") != schema) return std::nullopt;
    json.at("seq").get_to(record.seq);
    json.at("time").get_to(record.time);
    json.at("boot_ms").get_to(record.boot_ms);
    json.at("boot_id").get_to(record.boot_id);
    json.at("host").get_to(record.host);
    record.who = actor_of(json.at("who"));
    json.at("action").get_to(record.event.action);
    json.at("outcome").get_to(record.event.outcome);
    json.at("volume").get_to(record.event.volume);
    json.at("luks_uuid").get_to(record.event.luks_uuid);
    json.at("group").get_to(record.event.group);
    json.at("detail").get_to(record.event.detail);
    json.at("prev").get_to(record.prev);
    // One spelling only: what is written again must be the same bytes. This finds keys too many,
    // numbers out of range, another order, white space and texts too long, all at once.
    if (to_line(record) != line) return std::nullopt;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
  return record;
}

}  // namespace volseal::audit
