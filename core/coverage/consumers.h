// What holds data and is no block device of its own: swap files, the space outside of partitions,
// file systems in memory or on other machines, ZFS datasets. They are appended to a graph as
// devices that stand on others, so that one walk, one set of rules and one report does for all.
#pragma once

#include "core/coverage/coverage.h"

namespace volseal {

struct Consumers {
  DeviceGraph graph;              // the graph, and what was appended
  std::vector<Subject> subjects;  // of each device of it
};

// Nothing where the graph has none: then it can be judged as it is.
std::optional<Consumers> consumers_of(const DeviceGraph& graph);

}  // namespace volseal
