// What is forgotten with a volume that is no more.
#pragma once

#include "core/base/file.h"

#include <string_view>

namespace volseal {

// Every drill of a keyslot of that volume. On disk when it returns; other processes wait.
void forget_drills(const Path& state, std::string_view luks_uuid);

}  // namespace volseal
