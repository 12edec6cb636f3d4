#include "core/policy/lock.h"

#include "core/policy/policy.h"
#include "core/policy/section.h"

namespace volseal {

std::string_view to_string(OnTamper answer) {
  switch (answer) {
    case OnTamper::tell: return "tell";
    case OnTamper::revoke: return "revoke";
    case OnTamper::lock: return "lock";
  }
  return "tell";
}

LockRules read_lock_rules(const Section& group) {
  LockRules rules;
  const auto answer = group.one_of("on_tamper", {"tell", "revoke", "lock"});
  if (answer == "revoke") rules.on_tamper = OnTamper::revoke;
  if (answer == "lock") rules.on_tamper = OnTamper::lock;
  const auto limit = group.table("lock_after", "lock_after of " + group.name());
  if (!limit) return rules;
  limit->only({"failures", "minutes"});
  constexpr int most_failures = 1000;
  constexpr int longest_window = 7 * 24 * 60;
  const auto failures = limit->integer("failures", 2, most_failures);
  const auto minutes = limit->integer("minutes", 1, longest_window);
  if (!failures || !minutes)
    group.refuse("lock_after", "needs both: { failures = 5, minutes = 10 }");
  rules.lock_after = LockAfter{.failures = *failures, .minutes = *minutes};
  return rules;
}

std::map<std::string, LockRules> parse_lock_rules(std::string_view text, std::string_view source) {
  // All of it is judged first, by who judges policies.
  parse_policy(text, source);
  std::map<std::string, LockRules> rules;
  const toml::table table = toml::parse(text, source);
  const Section root(table, "the policy", source);
  const auto groups = root.table("group", "[group]");
  if (!groups) return rules;
  for (const auto& [key, node] : groups->raw()) {
    const auto group = groups->table(key.str(), "[group." + std::string(key.str()) + "]");
    if (group) rules.emplace(key.str(), read_lock_rules(*group));
  }
  return rules;
}

std::map<std::string, LockRules> load_lock_rules(const Path& policy) {
  const auto text = read_file_if_any(policy);
  return text ? parse_lock_rules(*text, policy.native()) : std::map<std::string, LockRules>();
}

}  // namespace volseal
