#include "core/coverage/filter.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/coverage/coverage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

namespace volseal {

namespace {

bool has_or_all(const std::vector<std::string>& names, std::string_view name) {
  return names.empty() || std::ranges::find(names, name) != names.end();
}

std::string any_of_words(std::string_view what, const std::vector<std::string>& names) {
  std::vector<std::string> words;
  words.reserve(names.size());
  for (const std::string& name : names)
    words.push_back(name.empty() ? "none" : fmt::format("\"{}\"", escaped(name)));
  return fmt::format("{} {}", what, fmt::join(words, " or "));
}

void require_names(std::string_view what, const std::vector<std::string>& names,
                   const Policy& policy, std::string Group::* member) {
  for (const std::string& name : names) {
    if (name.empty()) continue;
    if (std::ranges::find(policy.groups, name, member) != policy.groups.end()) continue;
    std::vector<std::string> known;
    for (const Group& group : policy.groups) {
      const std::string& one = group.*member;
      if (!one.empty() && std::ranges::find(known, one) == known.end()) known.push_back(one);
    }
    for (std::string& one : known) one = escaped(one);
    throw Error(Code::usage, "look for {} '{}': the policy has none of that name{}{}", what,
                escaped(name), known.empty() ? "" : ", but ", fmt::join(known, ", "));
  }
}

}  // namespace

bool Filter::wants(std::string_view tenant, std::string_view environment,
                   std::string_view group) const {
  return has_or_all(tenants, tenant) && has_or_all(environments, environment) &&
         has_or_all(groups, group);
}

bool Filter::wants(const VolumeVerdict& volume) const {
  return wants(volume.tenant, volume.environment, volume.policy_group);
}

std::string filter_words(const Filter& filter) {
  std::vector<std::string> parts;
  if (!filter.tenants.empty()) parts.push_back(any_of_words("tenant", filter.tenants));
  if (!filter.environments.empty())
    parts.push_back(any_of_words("environment", filter.environments));
  if (!filter.groups.empty()) parts.push_back(any_of_words("group", filter.groups));
  return fmt::format("{}", fmt::join(parts, ", "));
}

void require_known(const Filter& filter, const Policy& policy) {
  require_names("tenant", filter.tenants, policy, &Group::tenant);
  require_names("environment", filter.environments, policy, &Group::environment);
  require_names("group", filter.groups, policy, &Group::name);
}

}  // namespace volseal
