// What the next boot needs: the list for the initramfs, and whether a built initramfs has it all.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"
#include "core/unlock/boot_list.h"

#include <optional>
#include <string>
#include <vector>

namespace volseal {

// From the machine as it is: every line of crypttab that is opened without a person and is, or may
// be, enrolled. `cryptroot`: the crypttab that Debian's cryptroot hook put into the initramfs,
// where there is one; what it names besides root and /usr is Wanted::boot. Empty where no enrolled
// volume is there. Reads headers; throws Error{io} for a device that does not answer.
BootList boot_list_of(const DeviceGraph& graph, const std::vector<CrypttabEntry>& cryptroot);

// One volume, and why it would not open at the next boot; nothing: it opens.
struct NextBootVolume {
  BootVolume volume;
  std::vector<std::string> problems;
};

struct NextBoot {
  Path initramfs;
  std::string kernel;                 // whose modules are in it
  std::vector<std::string> problems;  // of all volumes alike: program, library, script, driver
  std::vector<NextBootVolume> volumes;

  bool opens_all() const;
};

// An unpacked initramfs, against what the machine needs. Runs volseal-unlock in it once (chroot),
// which is how a missing library shows. `graph`: the machine as it is.
NextBoot verify_initramfs(const Path& unpacked, const DeviceGraph& graph);

}  // namespace volseal
