// Ledger: device graphs and events in, findings out. Pure: it asks the world nothing.
#pragma once

#include "core/watch/finding.h"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace volseal {

// One of the kernel's events about a block device. udevd passes it on, with the same number.
struct DeviceEvent {
  std::string action;   // "add", "change", "remove" ...
  std::string name;     // "sdb1"
  std::string type;     // "disk", "partition"
  std::string devpath;  // in sysfs
  std::uint64_t seqnum = 0;
  std::uint64_t diskseq = 0;
  bool from_udevd = false;
  std::string bus, port, vendor, model, serial;  // from udevd only
};

// What happened since the last look, in order.
struct Burst {
  std::vector<DeviceEvent> events;
  bool mounts = false;            // the mount table changed
  bool swaps = false;             // the list of swap areas changed
  bool overflowed = false;        // there were more than `most`; the rest is not here
  std::set<std::string> changed;  // what add() has a "change" of

  static constexpr std::size_t most = 50'000;
  // Says the same twice only once, so that a storm of changes takes no memory.
  void add(DeviceEvent event);
};

// The machine at one moment, and what the policy says of it.
struct Sighting {
  DeviceGraph graph;
  Coverage coverage;
  std::map<std::string, std::string> ports;  // kernel name → where it hangs, as sysfs has it
};

std::vector<Origin> origins_of(const Sighting& seen, DeviceIndex at);
Finding finding_of(Happening what, const Sighting& seen, const VolumeVerdict& volume);

class Ledger {
 public:
  // What is not covered now.
  std::vector<Finding> start(Sighting now);
  // What is different from the last sighting, whatever announced it: so lost events lose no
  // finding, and an event that changed nothing makes none.
  std::vector<Finding> take(Sighting now, const Burst& burst);

  const Sighting& last() const { return last_; }

 private:
  std::vector<Finding> vanished(const Sighting& now, const Burst& burst);

  Sighting last_;
  std::vector<DeviceEvent> unseen_;  // disks that were announced and are in no sighting yet
};

// Sequence numbers of events that did not come. They may come in another order than the kernel
// counted them, since udev works on several at once; so a gap counts only after a while.
class SequenceGaps {
 public:
  struct Missing {
    std::uint64_t count = 0;
    std::int64_t since_ms = 0;  // the last event before the first gap
  };

  void saw(std::uint64_t seqnum, std::int64_t now_ms);
  // What is missing for longer than `patience_ms`; each is told once.
  Missing overdue(std::int64_t now_ms, std::int64_t patience_ms);
  bool empty() const { return gaps_.empty(); }

 private:
  struct Gap {
    std::uint64_t first = 0, last = 0;
    std::int64_t since_ms = 0;    // the last event before it
    std::int64_t noticed_ms = 0;  // the first event after it
  };
  std::uint64_t highest_ = 0;
  std::int64_t last_ms_ = 0;
  std::vector<Gap> gaps_;  // oldest first; bounded
  Missing given_up_;
};

}  // namespace volseal
