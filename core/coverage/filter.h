// Which volumes a report is about, where it is not all of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct Policy;
struct VolumeVerdict;

// Of each list any; an empty list: all. "" is for what belongs to no tenant, or no environment.
struct Filter {
  std::vector<std::string> tenants;
  std::vector<std::string> environments;
  std::vector<std::string> groups;  // the policy's word: VolumeVerdict::policy_group

  bool is_all() const { return tenants.empty() && environments.empty() && groups.empty(); }
  bool wants(std::string_view tenant, std::string_view environment, std::string_view group) const;
  bool wants(const VolumeVerdict& volume) const;
  bool operator==(const Filter&) const = default;
};

// "tenant A, environment production or test"; "" for all. Escaped.
std::string filter_words(const Filter& filter);

// Throws Error{usage} for a name that no group of the policy has: its report would be an empty one.
void require_known(const Filter& filter, const Policy& policy);

}  // namespace volseal
