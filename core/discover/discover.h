// What is there: sysfs, device-mapper, mounts and the sectors themselves → DeviceGraph.
//
// Reads only. The device names and tables come from the kernel, the contents from the sectors; the
// udev database and the names in /dev are taken for names, never for what is on a device.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <chrono>
#include <functional>
#include <set>
#include <string>

namespace volseal {

// Where to look. The defaults are the running machine; tests and rescue systems name other trees.
struct ScanOptions {
  Path sys = "/sys";
  Path proc = "/proc";
  Path dev = "/dev";
  Path etc = "/etc";
  // Claim leaves that nobody has mounted exclusively for some microseconds: the only way to learn
  // whether the kernel or a program holds them (Device::in_use). In that moment nobody else's mount
  // or mkfs would get them, so who looks unasked, again and again, had better not.
  bool claim = true;
  // Read raw sectors below everything that claims to be encrypted (Device::sample).
  bool sample = false;
  // What a device that sleeps needs to wake up, and more. One that takes longer is unreadable.
  std::chrono::milliseconds patience{20'000};
  // Called in the process that reads devices, before it opens the first.
  std::function<void()> before_reading;
  // An earlier graph of this machine. What is on a device is then taken from there instead of being
  // read again, if it is the same device with the same size and table, could be read then, and
  // neither it nor anything below it is in `again`. So idle disks may sleep on.
  const DeviceGraph* known = nullptr;
  std::set<std::string> again;  // kernel names
  // A folder with one file for each device-mapper name, as `dmsetup table NAME` prints it. Empty:
  // ask the kernel.
  Path tables;
};

// Every block device but loop devices without a file, RAM disks, floppies and drives without a
// medium. A device that cannot be read or goes away meanwhile is in the graph as unreadable or not
// at all; nothing here fails because of one device. Without root `graph.root` is false and most
// contents are unreadable. Throws Error{not_found} where there is no /sys/class/block.
//
// Reads several devices at once, in a process apart: none holds up the scan for longer than
// `patience`. Throws Error{io} where there can be no such process.
DeviceGraph scan(const ScanOptions& options = {});

// An image file as a device of kind `file`. Throws Error{not_found, denied, io}, and Error{usage}
// for what is no regular file.
Device scan_image(const Path& path, bool sample = false);

}  // namespace volseal
