// The watch: wait, look, tell. The decisions are ledger.h's.
#pragma once

#include "core/watch/ledger.h"

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>

namespace volseal {

// What need not be looked at again, for ScanOptions.
struct Hint {
  const DeviceGraph* known = nullptr;  // nullptr: look at everything
  std::set<std::string> again;
};

struct WatchSummary {
  std::uint64_t events = 0;  // of the kernel, about block devices
  std::uint64_t looks = 0;
  std::uint64_t findings = 0;
  std::uint64_t blinds = 0;   // how often events were lost
  std::int64_t blind_ms = 0;  // in all
};

struct WatchCallbacks {
  // Scans and judges. An Error makes the watch try again, until it works.
  std::function<Sighting(const Hint&)> look;
  // After each look: does what is to be done about what is there, and says so in the findings; may
  // add some. Must not throw.
  std::function<void(const Sighting&, std::vector<Finding>&)> act;
  // Called with at least one finding; must not throw.
  std::function<void(std::span<const Finding>)> tell;
  // SIGHUP: read the policy again; an Error is reported, and the old one stays.
  std::function<void()> reload;
  // After each look, and while nothing happens once a minute.
  std::function<void(const WatchSummary&)> account;
  // Readable when something else has happened, which `wake` sees to; true: look again. -1: none.
  int waker = -1;
  std::function<bool()> wake;
};

// Stamps with this moment.
void stamp(std::span<Finding> findings);

// Where the graph's disks hang, for Sighting::ports.
std::map<std::string, std::string> ports_in_sysfs(const DeviceGraph& graph);

// Until SIGTERM or SIGINT. A burst of events is looked at once udevd has been through with it and
// quiet for 50 ms, but not later than 250 ms after udevd began, nor 400 ms after the kernel did: a
// udevd that is slow or hangs may delay the links in /dev/disk, but no finding. Throws Error where
// it cannot listen.
WatchSummary watch(const WatchCallbacks& callbacks);

}  // namespace volseal
