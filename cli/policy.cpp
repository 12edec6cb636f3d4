// volseal policy: the default, and what a policy means for this machine.
#include "core/policy/policy.h"

#include "cli/exit_status.h"
#include "cli/graph.h"
#include "cli/operator_view.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/table.h"
#include "core/coverage/coverage.h"
#include "core/escrow/escrow.h"
#include "tpm/state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {
namespace {

using Json = nlohmann::ordered_json;

struct PolicyVerb {
  std::optional<std::string> file;
  std::string graph;
  bool json = false;
};

std::string what_it_says(const Policy& policy, const Rule* rule, std::string_view today) {
  const auto encrypted = [&](const std::string& name) {
    const Group& group = policy.group(name);
    const std::string owner = owner_words(group.tenant, group.environment);
    return fmt::format("encrypt, {}{}group '{}'", owner, owner.empty() ? "" : " ", name);
  };
  if (rule == nullptr) return encrypted("default");
  switch (rule->action) {
    case Action::encrypt: return encrypted(rule->group);
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

// Which rule decides a volume.
struct Decision {
  DeviceIndex at;
  const Rule* rule;  // null: none matches
};

std::vector<Decision> decisions_of(const Policy& policy, const DeviceGraph& graph) {
  std::vector<Decision> decisions;
  for (const DeviceIndex at : volumes_of(graph)) {
    decisions.push_back({.at = at, .rule = deciding_rule(policy, graph, at)});
  }
  return decisions;
}

std::string_view word_for(const Rule* rule, std::string_view today) {
  if (rule == nullptr || rule->action == Action::encrypt) return "encrypt";
  if (rule->action == Action::forbid) return "forbid";
  return expired(*rule, today) ? "encrypt" : "leave";
}

// The escrow of a group, as it could be used now.
struct TriedEscrow {
  const Group* group;
  escrow::Escrow escrow;
};

// A certificate that must not get a key, or a destination that is not there, is a mistake in the
// policy: found now, and not when a key needs a place.
std::vector<TriedEscrow> try_escrows(const Policy& policy) {
  std::vector<TriedEscrow> tried;
  for (const Group& group : policy.groups) {
    if (!group.escrow) continue;
    try {
      tried.push_back({.group = &group, .escrow = {*group.escrow, std::time(nullptr)}});
    } catch (const Error& error) {
      throw Error(Code::bad_policy, "{}: [group.{}.escrow]: {}", policy.source, group.name,
                  error.what());
    }
  }
  return tried;
}

Json to_json(const std::vector<TriedEscrow>& escrows) {
  Json list = Json::array();
  for (const auto& [group, escrow] : escrows) {
    Json certificates = Json::array();
    for (const escrow::Certificate& certificate : escrow.certificates()) {
      certificates.push_back({{"file", to_valid_utf8(certificate.file.native())},
                              {"fingerprint", certificate.fingerprint},
                              {"subject", certificate.subject},
                              {"key", certificate.key},
                              {"not_after", certificate.not_after},
                              {"warnings", certificate.warnings}});
    }
    list.push_back({{"group", group->name},
                    {"threshold", escrow.threshold()},
                    {"certificates", std::move(certificates)}});
  }
  return list;
}

std::string to_text(const std::vector<TriedEscrow>& escrows) {
  std::string text;
  for (const auto& [group, escrow] : escrows) {
    text += fmt::format("\nEscrow of group {}: {} of {} open it together\n", group->name,
                        escrow.threshold(), escrow.certificates().size());
    for (const escrow::Certificate& certificate : escrow.certificates()) {
      text += fmt::format("  {}  {}, {}, until {}\n", certificate.fingerprint.substr(0, 16),
                          escaped(certificate.subject), certificate.key, certificate.not_after);
      for (const std::string& warning : certificate.warnings)
        text += fmt::format("    warning: {}\n", warning);
    }
  }
  return text;
}

std::string to_json(const Policy& policy, const DeviceGraph& graph,
                    const std::vector<Decision>& decisions, const std::vector<std::string>& idle,
                    const std::vector<TriedEscrow>& escrows,
                    const std::vector<std::string>& problems, std::string_view today) {
  Json volumes = Json::array();
  for (const auto& [at, rule] : decisions) {
    const bool encrypts = rule == nullptr || rule->action == Action::encrypt;
    Json volume = {{"path", to_valid_utf8(graph[at].path)},
                   {"size", graph[at].size},
                   {"content", to_string(graph[at].content.kind)},
                   {"type", to_valid_utf8(graph[at].content.type)},
                   {"rule", rule == nullptr ? Json() : Json(rule->name)},
                   {"line", rule == nullptr ? Json() : Json(rule->line)},
                   {"action", word_for(rule, today)},
                   {"group", encrypts ? Json(rule == nullptr ? "default" : rule->group) : Json()}};
    if (!encrypts) volume["reason"] = to_valid_utf8(rule->reason);
    if (!encrypts && !rule->until.empty()) volume["until"] = rule->until;
    volumes.push_back(std::move(volume));
  }
  std::vector<std::string> groups;
  groups.reserve(policy.groups.size());
  Json owners = Json::array();
  for (const Group& group : policy.groups) {
    groups.push_back(group.name);
    owners.push_back({{"group", group.name},
                      {"tenant", to_valid_utf8(group.tenant)},
                      {"environment", to_valid_utf8(group.environment)},
                      {"operators", group.operators}});
  }
  const Json json = {{"schema", "volseal-policy-check/1"},
                     {"policy", to_valid_utf8(policy.source)},
                     {"digest", policy.digest},
                     {"groups", groups},
                     {"owners", std::move(owners)},
                     {"escrows", to_json(escrows)},
                     {"volumes", std::move(volumes)},
                     {"idle_rules", idle},
                     {"problems", problems}};
  return json.dump(1) + "\n";
}

std::string volumes_table(const Policy& policy, const DeviceGraph& graph,
                          const std::vector<Decision>& decisions, std::string_view today) {
  std::vector<std::vector<Cell>> rows(1);
  for (const char* title : {"VOLUME", "SIZE", "CONTENT", "RULE", "SAYS"}) {
    rows.front().push_back({.text = title, .colour = "1"});
  }
  for (const auto& [at, rule] : decisions) {
    const Device& device = graph[at];
    const std::string name =
        rule == nullptr ? "(none)" : fmt::format("{} (line {})", rule->name, rule->line);
    rows.push_back({{.text = escaped(device.path)},
                    {.text = human_size(device.size)},
                    {.text = content_of(device)},
                    {.text = name},
                    {.text = what_it_says(policy, rule, today)}});
  }
  return render_table(rows, columns(STDOUT_FILENO), may_colour(STDOUT_FILENO));
}

// What is wrong with it on this machine, and no mistake in its text.
std::vector<std::string> problems_here(const Policy& policy, const Path& file,
                                       const Options& options) {
  std::vector<std::string> problems = operator_problems(policy, file);
  std::map<std::uint32_t, std::string> counters;
  for (const Group& group : policy.groups) {
    try {
      const auto counter = tpm::GroupState(options.state, group.name).counter();
      if (!counter) continue;
      const auto [at, added] = counters.emplace(*counter, group.name);
      if (!added)
        problems.push_back(
            fmt::format("groups {} and {} have one revocation counter: revoking one "
                        "would revoke both",
                        at->second, group.name));
    } catch (const Error& error) {
      problems.push_back(on_one_line(error.what()));
    }
  }
  return problems;
}

int check(const PolicyVerb& verb, const Options& options) {
  const Path file = verb.file ? Path(*verb.file) : options.policy;
  const Policy policy = load_policy(file);
  // A saved graph may be another machine's, and so may the certificates be.
  const auto escrows = verb.graph.empty() ? try_escrows(policy) : std::vector<TriedEscrow>();
  const DeviceGraph graph = get_graph({.file = verb.graph});
  const std::vector<std::string> problems =
      verb.graph.empty() ? problems_here(policy, file, options) : std::vector<std::string>();
  const std::string today = utc_now().substr(0, 10);
  const std::vector<Decision> decisions = decisions_of(policy, graph);
  std::vector<std::string> idle;
  for (const Rule& rule : policy.rules) {
    if (std::ranges::find(decisions, &rule, &Decision::rule) == decisions.end()) {
      idle.push_back(rule.name);
    }
  }
  if (verb.json) {
    print_out(to_json(policy, graph, decisions, idle, escrows, problems, today));
    return exit_status::good;
  }
  std::string text =
      fmt::format("{} is valid: {} rule{}, {} group{}\n\n",
                  policy.source == "built-in" ? "The built-in policy" : escaped(policy.source),
                  policy.rules.size(), policy.rules.size() == 1 ? "" : "s", policy.groups.size(),
                  policy.groups.size() == 1 ? "" : "s");
  text += volumes_table(policy, graph, decisions, today);
  if (!idle.empty()) {
    text += fmt::format("\nDecide nothing on this machine: {}\n", fmt::join(idle, ", "));
  }
  text += to_text(escrows);
  for (const std::string& problem : problems) text += fmt::format("\nwarning: {}\n", problem);
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
  checking->add_flag("--json", options->json, "what decides each volume, as JSON");
  checking->footer("Exit status: 0 valid, 78 not, with the line that is wrong.");
  checking->callback([&session, options] { session.status = check(*options, session.options); });
}

}  // namespace volseal
