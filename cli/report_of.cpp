#include "cli/report_of.h"

#include "cli/records.h"
#include "core/base/clock.h"
#include "core/coverage/coverage.h"
#include "core/report/controls.h"

#include <utility>

namespace volseal {

MadeReport machine_report(const ReportRequest& request, const Options& options) {
  Policy policy = load_policy(options.policy);
  require_known(request.filter, policy);
  const Controls controls = load_controls(request.controls_file);
  DeviceGraph graph = get_graph(request.source);
  const std::string now = utc_now();
  Coverage coverage =
      judge(graph, policy, now.substr(0, sizeof("YYYY-MM-DD") - 1),
            is_live(request.source) ? read_records(graph, policy, options) : Records{});
  Report report =
      make_report(graph, policy, std::move(coverage), controls,
                  {.version = VOLSEAL_VERSION, .made_at = now, .filter = request.filter});
  return {.report = std::move(report), .graph = std::move(graph), .policy = std::move(policy)};
}

}  // namespace volseal
