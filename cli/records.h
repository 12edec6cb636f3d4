// What this machine has noted of its volumes, for the coverage report: header backups, how this
// boot opened them, when a way in that needs no TPM was last proven.
#pragma once

#include "cli/verb.h"
#include "core/coverage/coverage.h"
#include "core/policy/policy.h"

namespace volseal {

// What cannot be read is left out, and said once: the report does not fail for it.
Records read_records(const DeviceGraph& graph, const Policy& policy, const Options& options);

}  // namespace volseal
