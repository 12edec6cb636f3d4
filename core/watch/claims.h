// Claims: several at once, in a process apart. An open of a device that does not answer cannot be
// interrupted, not even by SIGKILL: so the process that waits for it is left behind, and neither
// the watch nor its end waits with it.
#pragma once

#include "core/watch/claim.h"

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <vector>

namespace volseal {

class Claims {
 public:
  using Function = std::function<Claimed(const ClaimJob&)>;

  // `function` runs in the process apart; another than claim() is for tests.
  explicit Claims(Function function = claim) : function_(std::move(function)) {}
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;
  Claims(Claims&&) = delete;
  Claims& operator=(Claims&&) = delete;
  // What still waits lets go of what it gets.
  ~Claims();

  // A device that does not answer is waited for no longer than `patience`; its claim goes on, and
  // is handed out by a later call. Throws Error{io} where no process can be started.
  std::map<DeviceId, Claimed> take(const std::vector<ClaimJob>& jobs,
                                   std::chrono::milliseconds patience);

 private:
  struct Batch {
    pid_t process = 0;
    UniqueFd socket;
    std::vector<DeviceId> ids;      // by the number that answers bear
    std::map<DeviceId, bool> left;  // true: it was waited for already
    bool ended = false;             // nothing more comes
  };

  Batch start(const std::vector<ClaimJob>& jobs) const;
  static void receive(Batch& batch, std::map<DeviceId, Claimed>& taken);
  static void wait(Batch& batch, std::chrono::milliseconds patience,
                   std::map<DeviceId, Claimed>& taken);
  void bury();

  Function function_;
  std::list<Batch> batches_;
  std::vector<pid_t> left_behind_;
};

}  // namespace volseal
