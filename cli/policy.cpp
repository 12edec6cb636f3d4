// volseal policy: the default, and what a policy means for this machine.
#include "core/policy/policy.h"

#include "cli/exit_status.h"
#include "cli/graph.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "core/base/clock.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/table.h"
#include "core/coverage/coverage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace volseal {
namespace {

struct PolicyVerb {
  std::optional<std::string> file;
  std::string graph;
};

std::string what_it_says(const Rule* rule, std::string_view today) {
  if (rule == nullptr) return "encrypt, group 'default'";
  switch (rule->action) {
    case Action::encrypt: return fmt::format("encrypt, group '{}'", rule->group);
    case Action::forbid: return fmt::format("forbid: {}", escaped(rule->reason));
    case Action::leave: break;
  }
  if (expired(*rule, today)) return fmt::format("encrypt: exempt until {}, over", rule->until);
  return fmt::format("leave{}: {}", rule->until.empty() ? "" : " until " + rule->until,
                     escaped(rule->reason));
}

std::string content_of(const Device& device) {
  return device.content.type.empty() ? std::string(to_string(device.content.kind))
                                     : escaped(device.content.type, 40);
}

std::string volumes_table(const Policy& policy, const DeviceGraph& graph, std::string_view today,
                          std::set<const Rule*>& used) {
  std::vector<std::vector<Cell>> rows(1);
  for (const char* title : {"VOLUME", "SIZE", "CONTENT", "RULE", "SAYS"}) {
    rows.front().push_back({.text = title, .colour = "1"});
  }
  for (const DeviceIndex at : volumes_of(graph)) {
    const Device& device = graph[at];
    const Rule* rule = deciding_rule(policy, graph, at);
    used.insert(rule);
    const std::string name =
        rule == nullptr ? "(none)" : fmt::format("{} (line {})", rule->name, rule->line);
    rows.push_back({{.text = escaped(device.path)},
                    {.text = human_size(device.size)},
                    {.text = content_of(device)},
                    {.text = name},
                    {.text = what_it_says(rule, today)}});
  }
  return render_table(rows, columns(STDOUT_FILENO), may_colour(STDOUT_FILENO));
}

int check(const PolicyVerb& verb, const Options& options) {
  const Policy policy = load_policy(verb.file ? Path(*verb.file) : options.policy);
  const DeviceGraph graph = get_graph({.file = verb.graph});
  const std::string today = utc_now().substr(0, 10);
  std::set<const Rule*> used;
  std::string text =
      fmt::format("{} is valid: {} rule{}, {} group{}\n\n",
                  policy.source == "built-in" ? "The built-in policy" : escaped(policy.source),
                  policy.rules.size(), policy.rules.size() == 1 ? "" : "s", policy.groups.size(),
                  policy.groups.size() == 1 ? "" : "s");
  text += volumes_table(policy, graph, today, used);
  std::vector<std::string> idle;
  for (const Rule& rule : policy.rules) {
    if (!used.contains(&rule)) idle.push_back(rule.name);
  }
  if (!idle.empty()) {
    text += fmt::format("\nDecide nothing on this machine: {}\n", fmt::join(idle, ", "));
  }
  if (!graph.root) text += "\nTaken without root's rights: most contents could not be read.\n";
  print_out(text);
  return exit_status::good;
}

}  // namespace

void add_policy(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("policy", "show the default policy, or try one");
  verb->require_subcommand(1);
  verb->footer("volseal-policy(5) explains every key.");
  verb->add_subcommand("default", "print the default policy with its comments")
      ->callback([&session] {
        print_out(default_policy_text());
        session.status = exit_status::good;
      });

  const auto options = std::make_shared<PolicyVerb>();
  CLI::App* checking = verb->add_subcommand(
      "check", "read a policy and say which rule decides each volume of this machine");
  checking->add_option("FILE", options->file, "the policy; that of --policy by default");
  checking
      ->add_option("--graph", options->graph,
                   "a saved graph instead of this machine; '-' is standard input")
      ->type_name("FILE");
  checking->footer("Exit status: 0 valid, 78 not, with the line that is wrong.");
  checking->callback([&session, options] { session.status = check(*options, session.options); });
}

}  // namespace volseal
