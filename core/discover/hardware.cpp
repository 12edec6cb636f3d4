#include "core/discover/hardware.h"

#include <linux/loop.h>
#include <linux/sed-opal.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

namespace volseal {

std::string opal_of(int fd) {
  opal_status status{};
  if (::ioctl(fd, IOC_OPAL_GET_STATUS, &status) != 0) return "";
  if ((status.flags & OPAL_FL_SUPPORTED) == 0 || (status.flags & OPAL_FL_LOCKING_SUPPORTED) == 0)
    return "";
  if ((status.flags & OPAL_FL_LOCKING_ENABLED) == 0) return "off";
  return (status.flags & OPAL_FL_LOCKED) != 0 ? "locked" : "unlocked";
}

std::optional<DeviceNumber> file_system_below(int fd) {
  loop_info64 info{};
  if (::ioctl(fd, LOOP_GET_STATUS64, &info) != 0) return std::nullopt;
  const auto number = static_cast<dev_t>(info.lo_device);
  return DeviceNumber{.major = ::major(number), .minor = ::minor(number)};
}

}  // namespace volseal
