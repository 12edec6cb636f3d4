// What a volume will be called under /dev/mapper.
#pragma once

#include "core/device/device.h"
#include "core/policy/policy.h"

#include <set>
#include <string>

namespace volseal {

// The line of crypttab is that of this LUKS volume.
bool names_volume(const CrypttabEntry& entry, const Device& device);

// Hands out each name once: none that the machine, its crypttab or an earlier volume has.
class MappingNames {
 public:
  explicit MappingNames(const DeviceGraph& graph);

  // The volume's crypttab line decides, then the rule, then what people call it: label, mount
  // point, "swap", device.
  std::string choose(const DeviceGraph& graph, DeviceIndex at, const Rule* rule);

 private:
  std::set<std::string> taken_;
};

}  // namespace volseal
