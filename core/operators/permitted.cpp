#include "core/coverage/ways_in.h"
#include "core/operators/request.h"

#include <algorithm>
#include <vector>

namespace volseal {

namespace {

bool answers_to(const Device& device, std::string_view volume) {
  if (!device.luks) return false;
  return device.luks->uuid == volume || device.path == volume || "/dev/" + device.name == volume ||
         std::ranges::find(device.links, volume) != device.links.end();
}

}  // namespace

std::set<std::string> groups_operated_by(const Policy& policy,
                                         const std::set<std::string>& unix_groups) {
  std::set<std::string> groups;
  for (const Group& group : policy.groups) {
    if (!group.operators.empty() && unix_groups.contains(group.operators))
      groups.insert(group.name);
  }
  return groups;
}

std::optional<PermittedVolume> permitted_volume(const DeviceGraph& graph, const Policy& policy,
                                                const std::set<std::string>& groups,
                                                std::string_view volume) {
  std::vector<DeviceIndex> found;
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    if (answers_to(graph[at], volume)) found.push_back(at);
  }
  if (found.size() != 1) return std::nullopt;
  const auto& luks = graph[found.front()].luks;
  if (!luks) return std::nullopt;
  const LuksHeader& header = *luks;
  const auto same_header = std::ranges::count_if(graph.devices, [&](const Device& device) {
    return device.luks && device.luks->uuid == header.uuid;
  });
  // A copy of a volume, or what claims to be one, is for root to look at.
  if (same_header != 1) return std::nullopt;
  const Rule* rule = deciding_rule(policy, graph, found.front());
  if (rule != nullptr && rule->action != Action::encrypt) return std::nullopt;
  const std::string group = rule == nullptr ? "default" : rule->group;
  if (!groups.contains(group) || groups_of(header) != std::vector{group}) return std::nullopt;
  return PermittedVolume{.device = found.front(), .group = group};
}

}  // namespace volseal
