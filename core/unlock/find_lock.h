// The note in a volume's header that its group was locked down.
#pragma once

#include "core/luks/volume.h"
#include "core/protect/lock_token.h"

#include <optional>

namespace volseal {

// Nothing where there is none. Throws Error{damaged}.
std::optional<LockNote> find_lock(const Volume& volume);

}  // namespace volseal
