// Block device events, and the knowledge of having lost some.
#pragma once

#include "core/watch/ledger.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

struct udev_monitor;

namespace volseal {

class EventMonitor {
 public:
  enum class Source {
    kernel,  // at once, in the kernel's order; links in /dev/disk may not be there yet
    udevd,   // when udevd is through with its rules, in no order; nothing where udevd does not run
  };
  // Listens from here on. Throws Error by errno.
  static EventMonitor open(Source source);
  // libudev would hand out a monitor that never says a word where udevd does not run.
  static bool udevd_runs();

  EventMonitor(EventMonitor&&) noexcept;
  EventMonitor& operator=(EventMonitor&&) noexcept;
  EventMonitor(const EventMonitor&) = delete;
  EventMonitor& operator=(const EventMonitor&) = delete;
  ~EventMonitor();

  int fd() const;
  // Bytes, as the kernel counts them; some 830 an event.
  std::size_t buffer_size() const;

  // Everything that waits, without blocking; block devices only. Returns why events were lost; ""
  // where none were known to be.
  std::string receive(std::int64_t now_ms, const std::function<void(DeviceEvent)>& take);
  // Events of any subsystem that the kernel counted and that did not come; each told once.
  SequenceGaps::Missing missing(std::int64_t now_ms, std::int64_t patience_ms) {
    return gaps_.overdue(now_ms, patience_ms);
  }
  bool waits_for_missing() const { return !gaps_.empty(); }

 private:
  struct Free {
    void operator()(udev_monitor* monitor) const;
  };
  EventMonitor() = default;

  std::unique_ptr<udev_monitor, Free> monitor_;
  Source source_ = Source::kernel;
  SequenceGaps gaps_;
};

}  // namespace volseal
