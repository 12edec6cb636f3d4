// Several volumes at once.
//
// Whoever works holds the turn, so that only one at a time talks to the TPM, the log, the tables
// and the person; long work lets go of it (Interlude) and keeps to its own device. Only what keeps
// to its own device can be long: that is what is worth sharing a machine for.
#pragma once

#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace volseal {

struct Job {
  std::set<std::string> spindles;  // the heads of no disk are sent to two places at once
  std::function<void()> work;      // called with the turn held; may throw
};

// As far as spindles allow in the order given, at most `limit` at once. Once one has thrown no
// other begins; when those at work have ended, the first exception is thrown on.
void run_jobs(const std::vector<Job>& jobs, unsigned limit, std::mutex& turn);

// Lets others have the turn for its lifetime; nullptr: there are no others.
class Interlude {
 public:
  explicit Interlude(std::mutex* turn) : turn_(turn) {
    if (turn_ != nullptr) turn_->unlock();
  }
  Interlude(const Interlude&) = delete;
  Interlude& operator=(const Interlude&) = delete;
  Interlude(Interlude&&) = delete;
  Interlude& operator=(Interlude&&) = delete;
  ~Interlude() {
    if (turn_ != nullptr) turn_->lock();
  }

 private:
  std::mutex* turn_;
};

}  // namespace volseal
