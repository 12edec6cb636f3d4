// What opens a volume together with something else, and is not on it: for the plan of an erasure.
#pragma once

#include "cli/verb.h"
#include "core/erase/plan.h"
#include "core/policy/policy.h"

#include <vector>

namespace volseal {

// Header backups of this machine, escrow of its recovery keys, groups whose secret remains.
// `header`: the volume's own.
std::vector<Leftover> leftovers_of(const ErasedVolume& volume, const LuksHeader& header,
                                   const std::string& erased_group, const Policy& policy,
                                   const Options& options);

}  // namespace volseal
