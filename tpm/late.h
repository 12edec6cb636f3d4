// The late copy of a group's secret: for volumes that arrive, or are enrolled, after the latch has
// closed.
//
// A second sealed object without PCRs. It opens with an auth value of 32 random bytes that lies
// root-only in the state folder: the disk alone lacks the TPM, a planted root lacks the auth value,
// a backup of the root lacks the TPM. Only for machines whose root is encrypted; the caller knows.
#pragma once

#include "core/protect/group_protector.h"
#include "tpm/connection.h"
#include "tpm/state.h"

namespace volseal::tpm {

// Replaces what is there. After a power cut in between, recover_late() says damaged, and this
// repairs it.
void make_late_copy(Connection& tpm, const GroupState& state, const Secret& group_secret);

// Never throws for what a TPM may answer. Outcome::unavailable where there is no late copy.
GroupKey recover_late(Connection& tpm, const GroupState& state);

}  // namespace volseal::tpm
