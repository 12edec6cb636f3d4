// volseal check: the coverage report; its exit status is the verdict.
#include "cli/graph.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "core/base/clock.h"
#include "core/coverage/coverage.h"
#include "core/policy/policy.h"

#include <unistd.h>

#include <memory>

namespace volseal {
namespace {

std::string_view next_step(int status) {
  switch (status) {
    case 2: return "'volseal plan' says what would be done about it.\n";
    case 3: return "'volseal scan' shows what was found on each device.\n";
    default: return "";
  }
}

int print_check(const GraphSource& source, const Options& options, bool json) {
  const DeviceGraph graph = get_graph(source);
  const Policy policy = load_policy(options.policy);
  const Coverage coverage = judge(graph, policy, utc_now().substr(0, sizeof("YYYY-MM-DD") - 1));
  const int status = coverage.exit_status();
  if (json) {
    print_out(to_json(coverage));
    return status;
  }
  std::string text =
      to_text(coverage, {.columns = columns(STDOUT_FILENO), .colour = may_colour(STDOUT_FILENO)});
  if (!graph.root) text += "The devices were read without root's rights.\n";
  text += next_step(status);
  print_out(text);
  return status;
}

}  // namespace

void add_check(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "check", "report whether every volume is encrypted; exit status 0, 1, 2 or 3");
  const auto source = std::make_shared<GraphSource>();
  const auto json = std::make_shared<bool>(false);
  verb->add_option("VOLUME", source->volumes, "devices or image files; all devices by default");
  verb->add_option("--graph", source->file,
                   "judge a graph saved by 'volseal scan --json'; '-' is standard input")
      ->type_name("FILE");
  verb->add_flag("--json", *json, "the report as JSON");
  verb->footer(
      "Exit status: 0 covered, 1 covered with warnings, 2 not covered (yet), 3 could not decide.");
  verb->callback(
      [&session, source, json] { session.status = print_check(*source, session.options, *json); });
}

}  // namespace volseal
