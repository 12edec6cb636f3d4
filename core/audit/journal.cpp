#include "core/audit/journal.h"

#include "core/base/escape.h"

#include <fmt/format.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace volseal::audit {

namespace {

// The line that people see. Who records an event may have a better one, as "summary".
std::string message_of(const Event& event) {
  if (const auto summary = event.detail.find("summary"); summary != event.detail.end()) {
    return escaped(event.action) + ": " + escaped(summary->second, 1024);
  }
  return fmt::format("{}: {}{}{}", escaped(event.action), escaped(event.outcome),
                     event.volume.empty() ? "" : ", ", escaped(event.volume));
}

// journald drops fields whose names have other characters, or that are longer.
std::string field_name(std::string_view key) {
  constexpr std::size_t longest = 40;
  std::string name;
  for (const char c : key.substr(0, longest)) {
    const bool letter = c >= 'a' && c <= 'z';
    name += letter ? static_cast<char>(c - 'a' + 'A') : '_';
  }
  return name;
}

}  // namespace

std::vector<std::string> journal_fields(const AuditRecord& record, bool recorded) {
  const Event& event = record.event;
  const bool finding = event.action == "watch.finding";
  static constexpr std::array<std::string_view, 5> good_outcomes = {"ok", audit_started, "covered",
                                                                    "exempt", "removed"};
  const bool good = std::ranges::find(good_outcomes, event.outcome) != good_outcomes.end();
  std::vector<std::string> fields = {
      "MESSAGE=" + message_of(event),
      fmt::format("MESSAGE_ID={}", finding ? finding_id : message_id),
      fmt::format("PRIORITY={}", good && recorded ? 5 : 4),
      "SYSLOG_IDENTIFIER=volseal",
      fmt::format("VOLSEAL_SEQ={}", record.seq),
      fmt::format("VOLSEAL_RECORDED={}", recorded ? 1 : 0),
      "VOLSEAL_ACTION=" + event.action,
      "VOLSEAL_OUTCOME=" + event.outcome,
  };
  if (!event.volume.empty()) fields.push_back("VOLSEAL_VOLUME=" + event.volume);
  if (!event.luks_uuid.empty()) fields.push_back("VOLSEAL_LUKS_UUID=" + event.luks_uuid);
  if (!event.group.empty()) fields.push_back("VOLSEAL_GROUP=" + event.group);
  if (record.who.loginuid)
    fields.push_back(fmt::format("VOLSEAL_LOGINUID={}", *record.who.loginuid));
  for (const auto& [key, value] : event.detail) {
    if (finding)
      fields.push_back(fmt::format("VOLSEAL_FINDING_{}={}", field_name(key), escaped(value, 1024)));
    else
      fields.push_back(fmt::format("VOLSEAL_DETAIL={}={}", escaped(key), escaped(value, 1024)));
  }
  return fields;
}

void send_to_journal(const AuditRecord& record, bool recorded) noexcept {
  try {
    if (::access("/run/systemd/journal/socket", W_OK) != 0) return;
    std::vector<std::string> fields = journal_fields(record, recorded);
    std::vector<iovec> parts;
    parts.reserve(fields.size());
    for (std::string& field : fields)
      parts.push_back({.iov_base = field.data(), .iov_len = field.size()});
    // A journal that says no is no reason to fail: the log has the event.
    (void)::sd_journal_sendv(parts.data(), static_cast<int>(parts.size()));
  } catch (...) {  // NOLINT(bugprone-empty-catch): out of memory, and the event is in the log
  }
}

}  // namespace volseal::audit
