#include "core/watch/sysfs_acts.h"

#include "core/base/error.h"
#include "core/base/log.h"

#include <fcntl.h>
#include <fmt/format.h>

namespace volseal {

void announce(const Path& sys, const std::string& name, std::string_view action) {
  try {
    const Path file = sys / "class/block" / name / "uevent";
    write_all(open_file(file, O_WRONLY).get(), action, file.native());
  } catch (const Error& error) {
    log::detail("{}", error.what());
  }
}

Path usb_device_of(const Path& sys, const std::string& name) {
  std::error_code error;
  Path at = std::filesystem::canonical(sys / "class/block" / name, error);
  const Path top = std::filesystem::canonical(sys, error);
  while (!error && at != top && at.has_relative_path()) {
    // Interfaces have the one, devices have both.
    if (std::filesystem::exists(at / "authorized") && std::filesystem::exists(at / "bDeviceClass"))
      return at;
    at = at.parent_path();
  }
  return {};
}

void deauthorize(const Path& usb_device) {
  const Path file = usb_device / "authorized";
  write_all(open_file(file, O_WRONLY).get(), "0", file.native());
}

FirstMoment first_moment_of(const Path& udev_data, std::uint32_t major, std::uint32_t minor) {
  const auto text = read_file_if_any(udev_data / fmt::format("b{}:{}", major, minor));
  if (!text) return FirstMoment::undecided;
  return text->contains("\nE:VOLSEAL_HELD=1\n") ? FirstMoment::held : FirstMoment::free;
}

}  // namespace volseal
