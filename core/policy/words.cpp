#include "core/base/escape.h"
#include "core/policy/policy.h"

namespace volseal {

std::string owner_words(std::string_view tenant, std::string_view environment) {
  const bool both = !tenant.empty() && !environment.empty();
  return fmt::format("{}{}{}", escaped(tenant), both ? "/" : "", escaped(environment));
}

std::string group_words(const Group& group) {
  const std::string owner = owner_words(group.tenant, group.environment);
  return fmt::format("{}{}group {}", owner, owner.empty() ? "" : " ", escaped(group.name));
}

}  // namespace volseal
