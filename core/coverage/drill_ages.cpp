#include "core/coverage/drill_ages.h"

#include "core/base/clock.h"
#include "core/base/escape.h"

#include <fmt/format.h>

namespace volseal {

std::vector<DrillAge> drill_ages(const LuksHeader& header, const std::vector<Drill>& drills,
                                 int limit, std::string_view today) {
  std::vector<DrillAge> ages;
  for (const Way& way : ways_in(header)) {
    const Drill* drill = find_drill(drills, header.uuid, way.fingerprint);
    if (drill == nullptr && !way.asks) continue;
    DrillAge age{.keyslot = way.keyslot, .kind = way.kind, .opened = "", .person = "", .days = {}};
    if (drill != nullptr) {
      age.opened = drill->opened;
      age.person = drill->person;
      age.days = days_between(drill->opened, today);
    }
    age.overdue = way.asks && limit > 0 && (!age.days || *age.days > limit);
    ages.push_back(std::move(age));
  }
  return ages;
}

std::string drill_words(const DrillAge& age) {
  const std::string way = fmt::format("keyslot {} ({})", age.keyslot, escaped(age.kind));
  if (!age.days) return way + ": no drill has opened it yet";
  const std::string when = *age.days == 0   ? "today"
                           : *age.days == 1 ? "yesterday"
                                            : fmt::format("{} days ago", *age.days);
  return fmt::format("{}: last drill {}, by {}", way, when, escaped(age.person));
}

}  // namespace volseal
