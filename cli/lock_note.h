// Whether a volume's group is locked down: by what its own header says, or this machine's record.
#pragma once

#include "core/lock/record.h"
#include "core/luks/volume.h"

#include <optional>

namespace volseal {

// A volume that was away while its group was locked has no note of it. Throws Error{damaged}.
std::optional<LockNote> lock_of(const Path& state, const Volume& volume);

}  // namespace volseal
