// What is done to a device through sysfs, and what udevd has noted of it.
#pragma once

#include "core/base/file.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace volseal {

// The kernel says `action` of it once more, "change" or "add", so that udevd goes through its rules
// again: LVM activates only what is added. Nothing happens where it is gone.
void announce(const Path& sys, const std::string& name, std::string_view action);

// The USB device that the disk is part of, as its folder in sysfs; "" where it is none.
Path usb_device_of(const Path& sys, const std::string& name);
// The kernel lets go of it until it is plugged in anew. Throws Error by errno.
void deauthorize(const Path& usb_device);

// Whether udevd is through with it, and whether its rule holds it since it came.
enum class FirstMoment { undecided, free, held };
FirstMoment first_moment_of(const Path& udev_data, std::uint32_t major, std::uint32_t minor);

}  // namespace volseal
