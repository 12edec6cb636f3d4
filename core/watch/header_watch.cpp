#include "core/watch/header_watch.h"

#include "core/lock/trigger.h"
#include "core/watch/warden.h"

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

// "" where the TPM opens it by no group.
std::string group_of(const LuksHeader& header) {
  const auto token = std::ranges::find_if(header.tokens, [](const Token& one) {
    return one.type == "volseal-tpm2" && !one.keyslots.empty();
  });
  return token == header.tokens.end() ? "" : token->group;
}

std::vector<std::string> changes_of(const LuksHeader& was, const Device& device) {
  if (device.luks) return header_changes(was, *device.luks);
  return {"its LUKS header is gone"};
}

}  // namespace

std::vector<HeaderChange> HeaderWatch::look(const DeviceGraph& graph) {
  std::vector<HeaderChange> found;
  std::map<DeviceId, Known> now;
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    const Device& device = graph[at];
    const DeviceId id = id_of(graph, at);
    const auto before = known_.find(id);
    if (before != known_.end() && device.content.kind == ContentKind::unreadable) {
      now.emplace(id, before->second);
      continue;
    }
    if (before != known_.end()) {
      auto changes = changes_of(before->second.header, device);
      if (!changes.empty()) {
        found.push_back({.device = at,
                         .group = before->second.group,
                         .luks_uuid = before->second.header.uuid,
                         .changes = std::move(changes)});
      }
    }
    if (!device.luks || !device.luks->reencryption.empty()) continue;
    // A header that lost its TPM keyslot is looked at no more: the change was told.
    if (std::string group = group_of(*device.luks); !group.empty())
      now.emplace(id, Known{.group = std::move(group), .header = *device.luks});
  }
  known_ = std::move(now);
  return found;
}

}  // namespace volseal
