// How long ago each way into a volume was last shown to open it. Pure.
#pragma once

#include "core/coverage/coverage.h"
#include "core/coverage/ways.h"
#include "core/drill/drill.h"

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// Of the ways that a person has a part in, and of others that were drilled. `limit`: days, 0: none.
// A day that is not yet over counts none.
std::vector<DrillAge> drill_ages(const LuksHeader& header, const std::vector<Drill>& drills,
                                 int limit, std::string_view today);

// "keyslot 2 (fido2): no drill has opened it yet", escaped.
std::string drill_words(const DrillAge& age);

}  // namespace volseal
