// What rules of policy.toml have in common: their conditions and their last day.
#pragma once

#include "core/policy/policy.h"
#include "core/policy/section.h"

#include <string>

namespace volseal {

Match read_match(const Section& section);
bool matches_everything(const Match& match);
// "YYYY-MM-DD", "" where it is not there.
std::string read_until(const Section& section);

}  // namespace volseal
