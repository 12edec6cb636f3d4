// [watch] of policy.toml.
#pragma once

#include "core/policy/policy.h"
#include "core/policy/section.h"

namespace volseal {

WatchPolicy read_watch(const Section& section);

}  // namespace volseal
