// What keeps groups, and the people behind them, apart.
#pragma once

#include "core/policy/policy.h"
#include "core/policy/section.h"

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// A tenant's or an environment's name; "" where it is not given.
std::string read_owner(const Section& section, std::string_view key);
// The name of a Unix group; "" where it is not given.
std::string read_operators(const Section& section);

// Throws Error{bad_policy} where two of them would be taken for each other, or get into each
// other's way. `section`: the table of all groups.
void require_separate(const Section& section, const std::vector<Group>& groups);

}  // namespace volseal
