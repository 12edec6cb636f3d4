#include "core/watch/monitor.h"

#include "core/base/error.h"
#include "core/base/handle.h"

#include <libudev.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <utility>

namespace volseal {

namespace {

using Udev = Handle<udev, udev_unref>;
using UdevDevice = Handle<udev_device, udev_device_unref>;

// An event is some 830 bytes there; the memory is taken only when it is needed.
constexpr int receive_buffer = 256 << 20;

std::string text_of(const char* text) {
  return text == nullptr ? "" : text;
}

std::string property(udev_device* device, const char* key) {
  return text_of(::udev_device_get_property_value(device, key));
}

std::uint64_t number(udev_device* device, const char* key) {
  const std::string text = property(device, key);
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

DeviceEvent event_of(udev_device* device) {
  return {.action = text_of(::udev_device_get_action(device)),
          .name = text_of(::udev_device_get_sysname(device)),
          .type = text_of(::udev_device_get_devtype(device)),
          .devpath = text_of(::udev_device_get_devpath(device)),
          .seqnum = ::udev_device_get_seqnum(device),
          .diskseq = number(device, "DISKSEQ"),
          .bus = property(device, "ID_BUS"),
          .port = property(device, "ID_PATH"),
          .vendor = property(device, "ID_VENDOR"),
          .model = property(device, "ID_MODEL"),
          .serial = property(device, "ID_SERIAL_SHORT")};
}

}  // namespace

void EventMonitor::Free::operator()(udev_monitor* monitor) const {
  ::udev_monitor_unref(monitor);
}

EventMonitor::EventMonitor(EventMonitor&&) noexcept = default;
EventMonitor& EventMonitor::operator=(EventMonitor&&) noexcept = default;
EventMonitor::~EventMonitor() = default;

bool EventMonitor::udevd_runs() {
  return ::access("/run/udev/control", F_OK) == 0;
}

EventMonitor EventMonitor::open(Source source) {
  const Udev context(::udev_new());
  if (!context) throw_errno(errno, "open libudev");
  EventMonitor result;
  result.source_ = source;
  // No filter by subsystem: a gap in the sequence numbers is seen only by who gets all of them.
  result.monitor_.reset(
      ::udev_monitor_new_from_netlink(context.get(), source == Source::udevd ? "udev" : "kernel"));
  if (!result.monitor_) throw_errno(errno, "listen to device events");
  // As root without regard to net.core.rmem_max. Less is no error: lost events are noticed.
  (void)::udev_monitor_set_receive_buffer_size(result.monitor_.get(), receive_buffer);
  if (const int error = ::udev_monitor_enable_receiving(result.monitor_.get()); error < 0) {
    throw_errno(error, "listen to device events");
  }
  return result;
}

std::size_t EventMonitor::buffer_size() const {
  int size = 0;
  socklen_t length = sizeof size;
  if (::getsockopt(fd(), SOL_SOCKET, SO_RCVBUF, &size, &length) != 0) return 0;
  return static_cast<std::size_t>(size);
}

int EventMonitor::fd() const {
  return ::udev_monitor_get_fd(monitor_.get());
}

std::string EventMonitor::receive(std::int64_t now_ms,
                                  const std::function<void(DeviceEvent)>& take) {
  std::string lost;
  for (;;) {
    errno = 0;
    const UdevDevice device(::udev_monitor_receive_device(monitor_.get()));
    if (device) {
      gaps_.saw(::udev_device_get_seqnum(device.get()), now_ms);
      if (text_of(::udev_device_get_subsystem(device.get())) == "block") {
        DeviceEvent event = event_of(device.get());
        event.from_udevd = source_ == Source::udevd;
        take(std::move(event));
      }
      continue;
    }
    switch (errno) {
      case EINTR: continue;
      case 0:
      case EAGAIN: return lost;
      case ENOBUFS: lost = "the receive buffer overran"; continue;
      case EBADF:
      case ENOTSOCK:
      case ENOMEM: throw_errno(errno, "receive a device event");
      // A message that was cut off, or that is none: what it said is lost, the next may be good.
      default: lost = "a device event could not be read";
    }
  }
}

}  // namespace volseal
