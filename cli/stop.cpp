#include "cli/stop.h"

#include <atomic>
#include <csignal>

namespace volseal {

namespace {

std::atomic<bool> wanted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

extern "C" void on_signal_to_stop(int /*signal*/) {
  wanted = true;
}

}  // namespace

void stop_on_signals() {
  struct sigaction action{};
  action.sa_handler = on_signal_to_stop;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool stop_is_wanted() {
  return wanted;
}

}  // namespace volseal
