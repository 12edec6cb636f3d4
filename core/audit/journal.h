// The journal's copy of an event, for those who look there first.
#pragma once

#include "core/audit/audit.h"

namespace volseal::audit {

// MESSAGE_ID of every audit event: journalctl MESSAGE_ID=...
inline constexpr std::string_view message_id = "5d0a6fb7c3f94e1c8f6b1a7e2c94d3b8";

// Never fails: where there is no journal, the log is what counts. `recorded`: the event is in the
// log.
void send_to_journal(const AuditRecord& record, bool recorded) noexcept;

}  // namespace volseal::audit
