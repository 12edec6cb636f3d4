// What systemd wants of a service: sd_notify(3), the watchdog, and signals as descriptors.
#pragma once

#include "core/base/handle.h"

#include <csignal>
#include <cstdint>
#include <optional>
#include <string_view>

namespace volseal {

// Nothing happens where nobody asked for it (NOTIFY_SOCKET unset).
void notify_manager(std::string_view state);
// How often WATCHDOG=1 must be said, in milliseconds; 0: never.
std::int64_t watchdog_ms();

// SIGTERM, SIGINT and SIGHUP, read from a descriptor instead of breaking in; undone on destruction.
class SignalFd {
 public:
  SignalFd();
  SignalFd(const SignalFd&) = delete;
  SignalFd& operator=(const SignalFd&) = delete;
  SignalFd(SignalFd&&) = delete;
  SignalFd& operator=(SignalFd&&) = delete;
  ~SignalFd();

  int fd() const { return fd_.get(); }
  // The next that waits.
  std::optional<int> receive();

 private:
  sigset_t old_{};
  UniqueFd fd_;
};

}  // namespace volseal
