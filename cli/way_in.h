// What opens a volume now, so that something can be added to it.
#pragma once

#include "cli/world.h"
#include "core/luks/volume.h"
#include "core/protect/fido2.h"

#include <optional>

namespace volseal {

// Throws LockedError where its group was locked down: nothing is added or taken away then.
void refuse_locked(const Volume& volume);

// Throws as refuse_locked(). The group's own secret where that works, so that nobody needs to be
// asked for a recovery key only to add another protector; then a FIDO2 key that is plugged in, then
// several parts; else what the key file has, or a person. With a key file, that alone. Throws
// Error{wrong_secret, usage}.
Secret way_in(const std::optional<Path>& key_file, const Volume& volume, Groups& groups,
              Fido2& keys);

}  // namespace volseal
