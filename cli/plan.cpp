// volseal plan: what enroll would do, and why.
#include "core/plan/plan.h"

#include "cli/exit_status.h"
#include "cli/graph.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/decrypt/journal.h"
#include "core/erase/journal.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace volseal {
namespace {

struct PlanVerb {
  std::string graph;
  std::vector<std::string> volumes;
  bool unmount = false;
  bool offline = false;
  bool json = false;
};

// All of the machine even where one volume is asked for: names must not clash with those of others,
// and a second path to the same disk must be seen. Image files are a machine of their own.
DeviceGraph graph_for(const PlanVerb& verb) {
  GraphSource source{.file = verb.graph};
  const bool images =
      verb.graph.empty() && !verb.volumes.empty() && std::ranges::all_of(verb.volumes, is_image);
  if (images) source.volumes = verb.volumes;
  return get_graph(source);
}

int plan(const PlanVerb& verb, const Options& options) {
  const Policy policy = load_policy(options.policy);
  const DeviceGraph graph = graph_for(verb);
  if (!graph.root) log::warning("taken without root's rights: most contents could not be read");
  // What such a volume looks like would be advised to be wiped.
  if (verb.graph.empty() && ::geteuid() == 0) {
    warn_of_decryptions(options.state);
    warn_of_erasures(options.state);
  }
  PlanOptions plan_options{.today = utc_now().substr(0, 10),
                           .only = verb.volumes,
                           .unmount = verb.unmount,
                           .offline = verb.offline};
  plan_options.needed.push_back(options.state.native());
  plan_options.needed.push_back(options.policy.native());
  const Plan plan = make_plan(graph, policy, plan_options);
  print_out(verb.json ? to_json(plan) + "\n" : to_text(plan, columns(STDOUT_FILENO)));
  return plan.has_obstacles() ? exit_status::refused : exit_status::good;
}

}  // namespace

void add_plan(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("plan", "say what enroll would do to each volume, and why");
  const auto options = std::make_shared<PlanVerb>();
  verb->add_option("VOLUME", options->volumes, "devices or image files; all volumes by default");
  verb->add_option("--graph", options->graph,
                   "plan for a saved graph instead of this machine; '-' is standard input")
      ->type_name("FILE");
  verb->add_flag("--unmount", options->unmount,
                 "plan as enroll --unmount would: what is mounted or active swap is released");
  verb->add_flag("--offline", options->offline,
                 "plan as enroll --offline would: nothing is encrypted while it is in use");
  verb->add_flag("--json", options->json, "the plan as JSON");
  verb->footer(
      "Touches nothing. Exit status: 0 everything can be done or is, 5 something must be "
      "encrypted and cannot be, 78 policy.");
  verb->callback([&session, options] { session.status = plan(*options, session.options); });
}

}  // namespace volseal
