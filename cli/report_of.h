// The coverage report of this machine, or of what was asked for instead.
#pragma once

#include "cli/graph.h"
#include "cli/verb.h"
#include "core/report/report.h"

namespace volseal {

struct ReportRequest {
  GraphSource source;
  Filter filter;
  Path controls_file;
};

struct MadeReport {
  Report report;
  DeviceGraph graph;
  Policy policy;
};

// Throws Error as get_graph(), load_policy(), load_controls() and require_known().
MadeReport machine_report(const ReportRequest& request, const Options& options);

}  // namespace volseal
