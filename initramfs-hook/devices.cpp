#include "initramfs-hook/devices.h"

#include "core/base/error.h"
#include "core/base/handle.h"

#include <libudev.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace volseal {

namespace {

using Clock = std::chrono::steady_clock;
using Udev = Handle<udev, udev_unref>;
using Monitor = Handle<udev_monitor, udev_monitor_unref>;
using Enumeration = Handle<udev_enumerate, udev_enumerate_unref>;
using UdevDevice = Handle<udev_device, udev_device_unref>;

class Search {
 public:
  explicit Search(const BootList& list) : list_(list), udev_(udev_new()) {
    if (!udev_) throw Error(Code::io, "look for volumes: udev does not answer");
    // Listening before looking: nothing that appears in between is missed.
    monitor_.reset(udev_monitor_new_from_netlink(udev_.get(), "udev"));
    if (!monitor_ ||
        udev_monitor_filter_add_match_subsystem_devtype(monitor_.get(), "block", nullptr) < 0 ||
        udev_monitor_enable_receiving(monitor_.get()) < 0) {
      throw Error(Code::io, "look for volumes: udev's events cannot be received");
    }
    look();
  }

  // Of the volumes for which `wanted` holds, is one still missing?
  template <typename Pred>
  bool missing(Pred wanted) const {
    return std::ranges::any_of(list_.volumes, [&](const BootVolume& volume) {
      return wanted(volume) && !nodes_.contains(volume.luks_uuid);
    });
  }

  void wait_until(Clock::time_point deadline) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd polled{.fd = udev_monitor_get_fd(monitor_.get()), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&polled, 1, static_cast<int>(std::max(left.count(), std::int64_t{0})));
    if (ready < 0 && errno != EINTR) throw_errno(errno, "wait for volumes");
    if (ready <= 0) return;
    const UdevDevice device(udev_monitor_receive_device(monitor_.get()));
    if (device) consider(device.get());
  }

  Nodes take() && { return std::move(nodes_); }

 private:
  void look() {
    const Enumeration found(udev_enumerate_new(udev_.get()));
    udev_enumerate_add_match_subsystem(found.get(), "block");
    udev_enumerate_add_match_property(found.get(), "ID_FS_TYPE", "crypto_LUKS");
    udev_enumerate_scan_devices(found.get());
    udev_list_entry* entry = nullptr;
    udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(found.get())) {
      const UdevDevice device(
          udev_device_new_from_syspath(udev_.get(), udev_list_entry_get_name(entry)));
      if (device) consider(device.get());
    }
  }

  void consider(udev_device* device) {
    const char* type = udev_device_get_property_value(device, "ID_FS_TYPE");
    const char* uuid = udev_device_get_property_value(device, "ID_FS_UUID");
    const char* node = udev_device_get_devnode(device);
    if (type == nullptr || uuid == nullptr || node == nullptr) return;
    if (std::string_view(type) != "crypto_LUKS") return;
    const bool ours = std::ranges::any_of(
        list_.volumes, [&](const BootVolume& volume) { return volume.luks_uuid == uuid; });
    if (!ours) return;
    std::vector<Path>& known = nodes_[uuid];
    if (std::ranges::find(known, Path(node)) == known.end()) known.emplace_back(node);
  }

  const BootList& list_;
  Udev udev_;
  Monitor monitor_;
  Nodes nodes_;
};

}  // namespace

Nodes wait_for_volumes(const BootList& list, const WaitLimits& limits) {
  const auto begun = Clock::now();
  const auto needed = [](const BootVolume& volume) { return volume.wanted != Wanted::data; };
  const auto waited_for = [](const BootVolume& volume) {
    return volume.wanted == Wanted::data && !has_option(volume.options, "nofail");
  };
  Search search(list);
  while (search.missing(needed) && Clock::now() < begun + limits.needed)
    search.wait_until(begun + limits.needed);
  while (search.missing(waited_for) && Clock::now() < begun + limits.data)
    search.wait_until(begun + limits.data);
  return std::move(search).take();
}

}  // namespace volseal
