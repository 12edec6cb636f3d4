#include "core/policy/watch.h"

#include "core/policy/conditions.h"

#include <fmt/format.h>

#include <array>
#include <set>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t most_rules = 1000;

constexpr std::array responses = {
    Response::allow,       Response::notify, Response::quarantine,
    Response::deauthorize, Response::enroll, Response::unlock,
};

std::optional<Response> read_response(const Section& section, std::string_view key,
                                      const Words& allowed) {
  const auto word = section.one_of(key, allowed);
  if (!word) return std::nullopt;
  for (const Response response : responses) {
    if (to_string(response) == *word) return response;
  }
  return std::nullopt;
}

void check_watch_rule(const Section& section, const WatchRule& rule) {
  const bool allows = rule.response == Response::allow;
  if (allows && rule.reason.find_first_not_of(' ') == std::string::npos) {
    section.refuse("action", "is 'allow' and must say why: reason = \"...\"");
  }
  if (allows && matches_everything(rule.match)) {
    section.refuse("action", "is 'allow' and there is no match: it would allow every device");
  }
  if (!rule.until.empty() && !allows) section.refuse("until", "is only for action 'allow'");
}

WatchRule read_watch_rule(const Section& outer) {
  const std::string name = outer.text("name").value_or("");
  if (!is_name(name)) {
    fail_policy(outer.source(), outer.line("name"),
                "a [[watch.rule]] needs a name of 1 to 64 letters, digits, '-' and '_'");
  }
  const Section section(outer.raw(), fmt::format("watch rule '{}'", name), outer.source());
  section.only({"name", "match", "action", "reason", "until"});
  WatchRule rule{.name = name, .line = static_cast<int>(section.line())};
  if (const auto match = section.table("match", fmt::format("match of watch rule '{}'", name))) {
    rule.match = read_match(*match);
  }
  const auto response = read_response(
      section, "action", {"allow", "notify", "quarantine", "deauthorize", "enroll", "unlock"});
  if (!response) {
    fail_policy(section.source(), section.line(),
                fmt::format("{} needs an action", section.name()));
  }
  rule.response = *response;
  rule.reason = section.text("reason").value_or("");
  rule.until = read_until(section);
  check_watch_rule(section, rule);
  return rule;
}

}  // namespace

std::string_view to_string(Response response) {
  switch (response) {
    case Response::allow: return "allow";
    case Response::notify: return "notify";
    case Response::quarantine: return "quarantine";
    case Response::deauthorize: return "deauthorize";
    case Response::enroll: return "enroll";
    case Response::unlock: return "unlock";
  }
  return "notify";
}

WatchPolicy read_watch(const Section& section) {
  section.only({"otherwise", "first_moment", "command", "timeout", "metrics", "rule"});
  WatchPolicy watch;
  watch.otherwise = read_response(section, "otherwise", {"notify", "quarantine", "deauthorize"})
                        .value_or(Response::quarantine);
  watch.first_moment = section.truth("first_moment").value_or(watch.otherwise != Response::notify);
  watch.command = section.command("command");
  if (section.has("timeout") && watch.command.empty()) {
    section.refuse("timeout", "is only for a command");
  }
  constexpr int longest_timeout = 3600;
  watch.timeout = section.integer("timeout", 1, longest_timeout).value_or(watch.timeout);
  if (const auto metrics = section.text("metrics")) {
    if (!is_clean_absolute_path(*metrics)) {
      section.refuse("metrics", "must be an absolute path without '..'");
    }
    watch.metrics = *metrics;
  }
  const toml::array* rules = section.list("rule");
  if (rules == nullptr) return watch;
  std::set<std::string> names;
  for (const toml::node& node : *rules) {
    if (!node.is_table()) {
      fail_policy(section.source(), line_of(node), "they are written as [[watch.rule]] tables");
    }
    if (watch.rules.size() == most_rules) {
      fail_policy(section.source(), line_of(node), "more than 1000 watch rules");
    }
    const Section one(*node.as_table(), "[[watch.rule]]", section.source());
    WatchRule rule = read_watch_rule(one);
    if (!names.insert(rule.name).second) {
      one.refuse("name", fmt::format("'{}' is used twice", rule.name));
    }
    watch.rules.push_back(std::move(rule));
  }
  return watch;
}

}  // namespace volseal
