// --io-limit: work that keeps to so many bytes a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace volseal {

// Holds for all pieces of work together; they may go on in several threads.
class Throttle {
 public:
  // 0: no limit.
  explicit Throttle(std::uint64_t bytes_per_second) : rate_(bytes_per_second) {}

  // `done` bytes of the piece `what`, whose first call only says where it begins. Returns when it
  // is time to go on, or a stop is wanted (cli/stop.h).
  void pace(const std::string& what, std::uint64_t done);

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point due_after(const std::string& what, std::uint64_t done);

  std::uint64_t rate_;
  std::mutex mutex_;
  Clock::time_point due_;
  std::map<std::string, std::uint64_t> last_;
};

}  // namespace volseal
