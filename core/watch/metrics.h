// The watch in OpenMetrics, for the textfile collector of node_exporter.
#pragma once

#include "core/watch/watcher.h"

#include <cstddef>
#include <map>
#include <string>

namespace volseal {

struct WatchFigures {
  WatchSummary summary;
  std::map<Happening, std::uint64_t> findings;
  std::map<Verdict, std::size_t> volumes;
  std::size_t quarantined = 0;
  std::uint64_t broken = 0;    // quarantines, by hand
  std::uint64_t not_told = 0;  // findings that the command did not get
  double now = 0;              // seconds since 1970
};

std::string openmetrics(const WatchFigures& figures);

}  // namespace volseal
