// What is on one device, by its sectors. Read only, and never trusting what it reads.
//
// Everything that a scan does with the device itself is behind probe(): a device that does not
// answer blocks this function and nothing else.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

struct PartitionEntry {
  std::uint64_t start = 0;  // bytes
  std::uint64_t size = 0;   // bytes
  std::string uuid;
  std::string type;  // GUID, or "0x83"
  std::string label;
};

struct Probe {
  Content content;
  std::optional<LuksHeader> luks;
  std::vector<PartitionEntry> partitions;
  std::string in_use;      // why an exclusive open fails; "" where it does not or was not tried
  bool no_medium = false;  // a drive with nothing in it
};

// `claim`: see whether the device can be opened exclusively. Never throws for what the device says:
// one that cannot be read is ContentKind::unreadable, with the reason.
Probe probe(const Path& node, bool claim);

}  // namespace volseal
