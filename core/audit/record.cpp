#include "core/audit/record.h"

#include "core/base/escape.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace volseal::audit {

namespace {

using Json = nlohmann::ordered_json;

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
  // A key that was mended may belong elsewhere: the order is that of the keys as they are written.
  std::map<std::string, std::string> written;
  for (const auto& [key, value] : detail) {
    if (written.size() == max_details) break;
    written[text_of(key, max_key)] = text_of(value);
  }
  Json json = Json::object();
  for (auto& [key, value] : written) json[key] = std::move(value);
  return json;
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

}  // namespace volseal::audit
