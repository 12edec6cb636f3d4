// From a sealed group to its secret, or to the reason why not.
#pragma once

#include "core/protect/group_protector.h"
#include "tpm/connection.h"
#include "tpm/sealed_group.h"

namespace volseal::tpm {

// Never throws for what a TPM may answer; throws Error only where memory for the secret cannot be
// locked.
GroupKey unseal(Connection& tpm, const SealedGroup& sealed, const AskPin& ask_pin);

}  // namespace volseal::tpm
