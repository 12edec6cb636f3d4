#include "core/audit/journal.h"

#include "core/base/escape.h"

#include <fmt/format.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

namespace volseal::audit {

void send_to_journal(const AuditRecord& record, bool recorded) noexcept {
  try {
    if (::access("/run/systemd/journal/socket", W_OK) != 0) return;
    const Event& event = record.event;
    const bool good = event.outcome == "ok" || event.outcome == audit_started;
    std::vector<std::string> fields = {
        fmt::format("MESSAGE={}: {}{}{}", escaped(event.action), escaped(event.outcome),
                    event.volume.empty() ? "" : ", ", escaped(event.volume)),
        fmt::format("MESSAGE_ID={}", message_id),
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
      fields.push_back(fmt::format("VOLSEAL_DETAIL={}={}", escaped(key), escaped(value, 1024)));
    }
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
