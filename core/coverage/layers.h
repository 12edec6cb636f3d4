// What stands between a device's data and the disks: walked segment by segment, judged by the
// worst.
#pragma once

#include "core/device/device.h"

#include <string>
#include <vector>

namespace volseal {

// From best to worst.
enum class Protection {
  encrypted,
  ephemeral,   // gone with the power: random-key swap, zram, tmpfs
  converting,  // a part of it is still in clear
  unknown,
  plain,
};

struct Layers {
  Protection protection = Protection::encrypted;
  std::vector<std::string> reasons;     // why it is not plainly encrypted; one sentence each
  std::vector<std::string> weaknesses;  // encrypted, but
  std::vector<DeviceIndex> headers;     // LUKS volumes that encrypt, each once
  std::string cipher;  // of the first encrypting layer, as in a device-mapper table
  std::uint32_t key_bytes = 0;
  std::uint32_t sector_size = 0;
  double percent = 100;  // converting: how much is encrypted
};

// The mappings that are the open side of the LUKS volume `container`: dm-crypt over it, or, while
// it is being encrypted, what device-mapper makes of its segments.
std::vector<DeviceIndex> opened_volumes(const DeviceGraph& graph, DeviceIndex container);

// For what is written to the device itself: below a LUKS header, that is what the header says.
Layers layers_of(const DeviceGraph& graph, DeviceIndex at);

}  // namespace volseal
