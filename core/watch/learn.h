// What is attached now, as rules that allow it.
#pragma once

#include "core/watch/ledger.h"

#include <string>
#include <string_view>

namespace volseal {

// A [watch] for policy.toml: deny last, and one rule for each disk that would be denied. `until` is
// the last day of them. Disks that no lasting name tells from others are named in a comment.
std::string learned_rules(const Sighting& seen, const Policy& policy, std::string_view today,
                          std::string_view until);

// `text` as a glob that matches it and nothing else.
std::string as_glob(std::string_view text);

}  // namespace volseal
