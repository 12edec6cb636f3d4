#include "core/watch/service.h"

#include "core/base/error.h"

#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace volseal {

void notify_manager(std::string_view state) {
  // Who does not listen any more is no reason to stop watching.
  (void)::sd_notify(0, std::string(state).c_str());
}

std::int64_t watchdog_ms() {
  std::uint64_t microseconds = 0;
  if (::sd_watchdog_enabled(0, &microseconds) <= 0) return 0;
  return static_cast<std::int64_t>(microseconds / 1000 / 3);
}

SignalFd::SignalFd() {
  sigset_t set{};
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, &old_);
  fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) {
    const int error = errno;
    ::sigprocmask(SIG_SETMASK, &old_, nullptr);
    throw_errno(error, "open a descriptor for signals");
  }
}

SignalFd::~SignalFd() {
  ::sigprocmask(SIG_SETMASK, &old_, nullptr);
}

std::optional<int> SignalFd::receive() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info))
    return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace volseal
