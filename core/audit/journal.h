// The journal's copy of an event, for those who look there first.
#pragma once

#include "core/audit/audit.h"

#include <string>
#include <string_view>
#include <vector>

namespace volseal::audit {

// MESSAGE_ID of every audit event: journalctl MESSAGE_ID=...
inline constexpr std::string_view message_id = "5d0a6fb7c3f94e1c8f6b1a7e2c94d3b8";
// But of the watch's findings, whose details are fields of their own: VOLSEAL_FINDING_NAME=...
inline constexpr std::string_view finding_id = "9f3c1a6e52b44d0bb1a7f0c85d2e6431";

// Each "NAME=value", as sd_journal_sendv(3) takes them.
std::vector<std::string> journal_fields(const AuditRecord& record, bool recorded);

// Never fails: where there is no journal, the log is what counts. `recorded`: the event is in the
// log.
void send_to_journal(const AuditRecord& record, bool recorded) noexcept;

}  // namespace volseal::audit
