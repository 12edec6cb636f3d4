// What the policy asks for beside the TPM and the recovery key, and only a person can add.
#pragma once

#include "cli/verb.h"
#include "core/plan/plan.h"

#include <vector>

namespace volseal {

// Adds the FIDO2 keys, and the ways in that take several parts, which the policy asks for and these
// volumes lack: once for all volumes of a group, so that one touch opens them all. Where nobody is
// there, or no key is plugged in, the command to run is said instead, and so is a failure: the
// volumes are encrypted and open without.
void add_what_people_have(const std::vector<VolumePlan>& volumes, bool may_ask,
                          const Session& session);

}  // namespace volseal
