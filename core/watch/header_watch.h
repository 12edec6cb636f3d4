// Headers of enrolled volumes, from one look to the next: what changed that bears on who can open
// them and on what is encrypted how (core/lock/trigger.h). Pure.
#pragma once

#include "core/device/device.h"
#include "core/watch/claim.h"

#include <map>
#include <string>
#include <vector>

namespace volseal {

struct HeaderChange {
  DeviceIndex device = 0;
  std::string group;
  std::string luks_uuid;             // as it was
  std::vector<std::string> changes;  // one sentence each
};

class HeaderWatch {
 public:
  // What is different from the last look. A volume that came, went or could not be read is none of
  // it, nor is one that is being converted. The first look finds nothing.
  std::vector<HeaderChange> look(const DeviceGraph& graph);

 private:
  struct Known {
    std::string group;
    LuksHeader header;
  };
  std::map<DeviceId, Known> known_;
};

}  // namespace volseal
