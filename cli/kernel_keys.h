// What others have put into the kernel's keyrings so that nobody is asked twice.
#pragma once

#include <set>
#include <string>

namespace volseal {

// Invalidates passphrases that systemd keeps to try them on the next volume ("cryptsetup"), and
// volume keys ("cryptsetup:UUID-...") of these LUKS UUIDs, as far as this process may see them.
// Returns how many.
int drop_cached_keys(const std::set<std::string>& luks_uuids);

}  // namespace volseal
