#include "cli/unlock_target.h"

#include "cli/crypttab_source.h"
#include "core/tables/tables.h"
#include "core/unlock/boot_list.h"

namespace volseal {

UnlockTarget unlock_target(const std::string& volume, const std::string& name) {
  UnlockTarget target{.device = volume, .mapping = name};
  const std::string uuid = Volume::load(volume).uuid();
  for (const CrypttabEntry& entry : load_crypttab("/etc/crypttab")) {
    if (uuid_in(entry.source) != uuid && entry.source != volume) continue;
    target.options = activate_options(entry.options);
    if (target.mapping.empty()) target.mapping = entry.name;
  }
  if (target.mapping.empty()) target.mapping = "luks-" + uuid;
  return target;
}

}  // namespace volseal
