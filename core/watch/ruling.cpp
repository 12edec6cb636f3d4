#include "core/watch/ruling.h"

#include <algorithm>
#include <set>
#include <utility>

namespace volseal {

namespace {

bool is_safe(Verdict verdict) {
  switch (verdict) {
    case Verdict::covered:
    case Verdict::covered_weak:
    case Verdict::suspended:
    case Verdict::converting:
    case Verdict::exempt: return true;
    case Verdict::unknown:
    case Verdict::not_covered: break;
  }
  return false;
}

bool takes_away(const Ruling& decision) {
  return decision.response == Response::quarantine || decision.response == Response::deauthorize;
}

// By disk: whether anything of it must stay.
std::set<DeviceIndex> disks_to_keep(const Sighting& seen, const std::vector<Ruling>& decisions) {
  std::set<DeviceIndex> keep;
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    const DeviceIndex at = seen.coverage.volumes[i].device;
    if (takes_away(decisions[i]) && !is_used(seen.graph, at)) continue;
    for (const DeviceIndex disk : seen.graph.disks_below(at)) keep.insert(disk);
  }
  for (DeviceIndex at = 0; at < seen.graph.devices.size(); ++at) {
    // A mapping, an array: what holds a disk in another way than by its partitions.
    const Device& device = seen.graph[at];
    if (device.kind == DeviceKind::partition) continue;
    for (const DeviceIndex lower : device.below) {
      for (const DeviceIndex disk : seen.graph.disks_below(lower)) keep.insert(disk);
    }
  }
  return keep;
}

}  // namespace

Ruling decide(const Policy& policy, const DeviceGraph& graph, const VolumeVerdict& volume,
              std::string_view today) {
  if (volume.verdict == Verdict::exempt) return {.reason = "exempt"};
  if (const WatchRule* rule = deciding_watch_rule(policy, graph, volume.device, today)) {
    return {.response = rule->response, .rule = rule->name, .reason = rule->reason};
  }
  if (is_safe(volume.verdict)) return {.reason = "encrypted"};
  return {.response = policy.watch.otherwise, .reason = "no rule allows it"};
}

bool is_used(const DeviceGraph& graph, DeviceIndex at) {
  const Device& device = graph[at];
  return !device.mounts.empty() || device.swap_active || !graph.is_leaf(at);
}

std::vector<Custody> custodies(const Sighting& seen, const std::vector<Ruling>& decisions) {
  const std::set<DeviceIndex> keep = disks_to_keep(seen, decisions);
  std::vector<Custody> result;
  std::set<DeviceIndex> taken;
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    if (!takes_away(decisions[i])) continue;
    const DeviceIndex at = seen.coverage.volumes[i].device;
    const std::vector<DeviceIndex> disks = seen.graph.disks_below(at);
    const bool whole = disks.size() == 1 && !keep.contains(disks.front());
    const DeviceIndex device = whole ? disks.front() : at;
    if (!taken.insert(device).second) continue;
    result.push_back(
        {.device = device, .in_use = !whole && is_used(seen.graph, at), .decision = decisions[i]});
  }
  return result;
}

}  // namespace volseal
