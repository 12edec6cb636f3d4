// volseal audit checkpoint and key.
#pragma once

#include "cli/audit_anchor.h"
#include "cli/verb.h"

namespace volseal {

// The exit status: 1 where something that should have the checkpoint does not have it yet.
int checkpoint_audit(const AnchorOptions& how, const Session& session);
void print_audit_key(const Options& options);

}  // namespace volseal
