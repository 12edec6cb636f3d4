// volseal escrow list: which recovery keys are in escrow, with whom, since when.
#pragma once

#include "cli/verb.h"

#include <string>
#include <vector>

namespace volseal {

// Of `volumes`, or of every LUKS volume of this machine. Returns the exit status: 1 where the
// policy wants a key in escrow and the header has no record of it, or one for other certificates.
int list_escrows(const std::vector<std::string>& volumes, bool json, const Options& options);

}  // namespace volseal
