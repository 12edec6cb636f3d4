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

// A part of a device.
struct Stretch {
  Path node;
  std::uint64_t start = 0;  // bytes
  std::uint64_t size = 0;   // bytes
};

struct ProbeOptions {
  bool claim = false;            // see whether the device can be opened exclusively
  bool whole_disk = false;       // look into the space outside of its partitions, ask for Opal
  bool sample = false;           // read where a LUKS header says that ciphertext lies
  std::vector<Stretch> samples;  // and here, where a device-mapper table says so
};

struct DeviceNumber {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
};

struct Probe {
  Content content;
  std::optional<LuksHeader> luks;
  std::vector<PartitionEntry> partitions;
  std::vector<Gap> gaps;
  std::optional<Sample> sample;
  std::string opal;
  std::string in_use;      // why an exclusive open fails; "" where it does not or was not tried
  bool no_medium = false;  // a drive with nothing in it
  // A loop device: of the file system that its file lies in, as the kernel has it open.
  std::optional<DeviceNumber> file_system;
};

// Never throws for what the device says: one that cannot be read is ContentKind::unreadable, with
// the reason.
Probe probe(const Path& node, const ProbeOptions& options = {});

}  // namespace volseal
