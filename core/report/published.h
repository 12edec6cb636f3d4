// A report as it was written in JSON, read back whole: for people who may not look at the devices,
// and whom root has left a report of what is theirs.
#pragma once

#include "core/report/report.h"

#include <string_view>

namespace volseal {

// Of schema "volseal-coverage/1", with all that this release writes. Throws Error{bad_report},
// "SOURCE: what is wrong".
Report parse_published(std::string_view text, std::string_view source);

// What `more` has, behind what `report` has. Devices that both have, such as a disk, are there
// once.
void join(Report& report, Report more);

}  // namespace volseal
