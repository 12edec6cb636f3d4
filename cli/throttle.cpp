#include "cli/throttle.h"

#include "cli/stop.h"

#include <algorithm>
#include <thread>

namespace volseal {

using namespace std::chrono_literals;

void Throttle::pace(const std::string& what, std::uint64_t done) {
  if (rate_ == 0) return;
  const auto due = due_after(what, done);
  while (!stop_is_wanted() && Clock::now() < due) {
    std::this_thread::sleep_for(std::min<Clock::duration>(due - Clock::now(), 100ms));
  }
}

Throttle::Clock::time_point Throttle::due_after(const std::string& what, std::uint64_t done) {
  const std::scoped_lock lock(mutex_);
  const auto [last, is_new] = last_.try_emplace(what, done);
  const std::uint64_t moved = is_new || done < last->second ? 0 : done - last->second;
  last->second = done;
  const std::chrono::duration<double> takes(static_cast<double>(moved) /
                                            static_cast<double>(rate_));
  due_ = std::max(due_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(takes);
  return due_;
}

}  // namespace volseal
