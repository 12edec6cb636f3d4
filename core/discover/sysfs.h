// /sys/class/block as devices: what the kernel says of each, before anything is read from it.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"
#include "core/discover/probe.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace volseal::sysfs {

struct Block {
  Device device;                // without path, links, tables, mounts and contents
  std::set<std::string> below;  // kernel names
  std::string zram_backing;     // path as zram says it
  bool suspended = false;       // a device-mapper device that would not answer a read
};

// In natural order of their names: sda2 before sda10.
std::vector<Block> read_blocks(const Path& sys);

// Kernel names of the members of each mounted btrfs, by any member's name: mountinfo knows only
// one.
std::map<std::string, std::vector<std::string>> btrfs_members(const Path& sys);

// Where a suspended system is written to; 0:0 for nowhere.
DeviceNumber resume_device(const Path& sys);

// "usb", "nvme" ... from the place of a disk in the device tree; "" where it says nothing.
std::string bus_of(const Path& place);

}  // namespace volseal::sysfs
