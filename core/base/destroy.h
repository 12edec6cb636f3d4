// Files whose content must not outlive them.
#pragma once

#include "core/base/file.h"

namespace volseal {

// Overwrites, syncs and removes it; nothing happens where there is none. Best effort: what a
// log-structured file system or a flash disk keeps, nobody can overwrite.
void destroy_file(const Path& path);

}  // namespace volseal
