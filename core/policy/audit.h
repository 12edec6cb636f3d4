// [audit] of policy.toml.
#pragma once

#include "core/policy/policy.h"
#include "core/policy/section.h"

namespace volseal {

AuditPolicy read_audit(const Section& section);

}  // namespace volseal
