// Warden: does what the policy wants done about each volume, and keeps it so.
//
// It compares what ought to be with what is, after every look: so a decision that was missed, a
// claim that failed or a watch that was killed is made good at the next.
#pragma once

#include "core/deny/deny.h"
#include "core/watch/book.h"
#include "core/watch/claims.h"
#include "core/watch/ruling.h"

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct WardenOptions {
  Path run = "/run/volseal";
  Path sys = "/sys";
  Path dev = "/dev";
  Path udev_data = "/run/udev/data";
  bool preview = false;  // only says what it would do
  std::string escape;    // why nothing is to be done but telling; "" for no
  std::chrono::milliseconds patience{2'000};
  // Starts what enrolls or opens a device, by its node. Must not throw, nor wait for it.
  std::function<void(Response, const std::string& node)> start;
  // Whether that is still at work.
  std::function<bool(const std::string& node)> is_busy;
  // The kernel is to deny these and no others. Must not throw. Nothing: it cannot.
  std::function<Deny::Change(const std::set<DeviceNumber>&)> deny;
  // Called in each process that opens devices, before it does: the kernel must not deny them to it.
  std::function<void()> before_opening;
};

class Warden {
 public:
  // Throws Error where it cannot keep its book.
  explicit Warden(WardenOptions options);
  // Devices stay read-only, and their records stay: only what was claimed is free again.
  ~Warden() = default;
  Warden(const Warden&) = delete;
  Warden& operator=(const Warden&) = delete;
  Warden(Warden&&) = delete;
  Warden& operator=(Warden&&) = delete;

  // Says in each finding what was done, and adds findings for what was done to others.
  void act(const Sighting& seen, const Policy& policy, std::string_view today,
           std::vector<Finding>& findings);

  // Readable when somebody has released something.
  int fd() const { return released_.get(); }
  void woken() const;

  std::size_t held() const { return held_.size(); }
  std::uint64_t broken() const { return broken_; }  // quarantines that were broken by hand

 private:
  struct Entry {
    Held record;
    UniqueFd claim;  // none where an earlier watch had it
    bool deauthorized = false;
  };
  // What became of a decision.
  struct Outcome {
    std::string action;
    std::string why;
    std::string rule;
    bool operator==(const Outcome&) const = default;
  };

  std::vector<Ruling> decide_all(const Sighting& seen, const Policy& policy,
                                 std::string_view today) const;
  Ruling after_enrolling(const Sighting& seen, DeviceIndex at, const Policy& policy,
                         Ruling ruling) const;
  std::string node_of(const DeviceGraph& graph, DeviceIndex at) const;
  void clear_disks(const Sighting& seen, const std::vector<Ruling>& decisions);
  void let_go(const Sighting& seen, const std::set<DeviceId>& wanted);
  void give_back(const Sighting& seen, const DeviceId& id);
  void take(const Sighting& seen, const std::vector<Custody>& wanted);
  void deny(const Sighting& seen, const std::set<DeviceId>& ids, std::vector<Finding>& findings);
  void keep_closed(const Sighting& seen, std::vector<Finding>& findings);
  void tell_broken(const Sighting& seen, DeviceIndex at, const std::string& how,
                   std::vector<Finding>& findings);
  Outcome outcome_of(const Sighting& seen, const VolumeVerdict& volume, const Ruling& decision);
  Outcome of_custody(const Sighting& seen, DeviceIndex at, const Ruling& decision) const;
  void tell(const Sighting& seen, const std::vector<Outcome>& outcomes,
            std::vector<Finding>& findings);
  ClaimJob job_of(const DeviceGraph& graph, DeviceIndex at) const;
  void say(std::string_view action, const DeviceGraph& graph, DeviceIndex at) const;

  WardenOptions options_;
  Book book_;
  UniqueFd released_;
  Claims claims_;
  std::map<DeviceId, Entry> held_;
  std::map<DeviceId, std::string> problems_;  // why one that should be held is not
  std::set<DeviceId> settled_;                // disks of which udevd's rule has been undone, or not
  std::set<DeviceId> cleared_;
  std::set<DeviceId> started_;
  std::map<DeviceId, Outcome> last_;
  std::uint64_t broken_ = 0;
};

DeviceId id_of(const DeviceGraph& graph, DeviceIndex at);

}  // namespace volseal
