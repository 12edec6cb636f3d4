// Reading the log in memory that does not grow with it.
#pragma once

#include "core/audit/audit.h"
#include "core/audit/files.h"
#include "core/audit/lines.h"

#include <functional>
#include <string_view>

namespace volseal {

// Every event of all files, oldest first, with its line. `containing`: lines without this text are
// passed over without being parsed, which makes it some ten times quicker. What is no event is
// passed over too; verify_audit_log() speaks of it. Throws Error{not_found} where there is no log.
void for_each_event(const Path& log, std::string_view containing,
                    const std::function<void(const AuditRecord&, std::string_view)>& visit);

namespace audit {

void for_each_line(const Snapshot::File& file,
                   const std::function<void(const LineReader::Line&)>& visit);

}  // namespace audit

}  // namespace volseal
