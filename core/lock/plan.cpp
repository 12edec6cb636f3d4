#include "core/lock/plan.h"

#include "core/base/error.h"
#include "core/protect/lock_token.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace volseal {

namespace {

bool is_of_group(const Token& token, const std::string& group) {
  return token.group == group;
}

Recovery recovery_of(const std::vector<LockedWay>& ways) {
  if (ways.empty()) return Recovery::none;
  std::vector<Given> all;
  std::vector<Given> drilled;
  for (const LockedWay& one : ways) {
    const Given given{.kind = one.way.kind, .factors = one.way.factors};
    all.push_back(given);
    if (!one.drilled.empty()) drilled.push_back(given);
  }
  if (factors_of(drilled) >= recovery_factors) return Recovery::proven;
  return factors_of(all) >= recovery_factors ? Recovery::unproven : Recovery::one_factor;
}

// Names, and what uses them, of everything that stands on the mapping.
void add_users(const DeviceGraph& graph, DeviceIndex mapping, LockedVolume& volume) {
  std::vector<DeviceIndex> up = {mapping};
  for (std::size_t i = 0; i < up.size(); ++i) {
    const Device& device = graph[up[i]];
    for (const std::string& mount : device.mounts) volume.busy.push_back("mounted at " + mount);
    if (device.swap_active) volume.busy.push_back(device.path + " is swapped to");
    for (const SwapFile& file : graph.swap_files) {
      if (file.device == device.name) volume.busy.push_back(file.path + " is swapped to");
    }
    for (const DeviceIndex higher : graph.above(up[i])) {
      if (std::ranges::find(up, higher) != up.end()) continue;
      up.push_back(higher);
      volume.busy.push_back(graph[higher].path + " stands on it");
    }
  }
  volume.above.assign(up.begin(), up.end());
}

}  // namespace

bool without_tpm(const Way& way) {
  const std::string parts = "+" + way.kind + "+";
  return way.asks && parts.find("+tpm+") == std::string::npos;
}

int factors_of(std::span<const Given> ways) {
  std::map<std::string, int> kinds;
  for (const Given& way : ways) {
    int& factors = kinds[way.kind];
    factors = std::max(factors, way.factors);
  }
  int sum = 0;
  for (const auto& [kind, factors] : kinds) sum += factors;
  return sum;
}

std::string_view to_string(Recovery recovery) {
  switch (recovery) {
    case Recovery::proven: return "proven";
    case Recovery::unproven: return "unproven";
    case Recovery::one_factor: return "one-factor";
    case Recovery::none: return "none";
  }
  return "none";
}

Recovery LockPlan::recovery() const {
  Recovery worst = Recovery::proven;
  for (const LockedVolume& volume : volumes) worst = std::max(worst, volume.recovery);
  return worst;
}

LockedVolume look_at_locked(const DeviceGraph& graph, DeviceIndex at,
                            const std::vector<Drill>& drills) {
  const Device& device = graph[at];
  if (!device.luks) throw Error(Code::not_found, "look at {}: it has no LUKS header", device.path);
  const LuksHeader& header = *device.luks;
  LockedVolume volume{.path = device.path, .luks_uuid = header.uuid, .device = at};
  for (const Way& way : ways_in(header)) {
    if (way.kind == "tpm") volume.tpm_keyslots.push_back(way.keyslot);
    if (!without_tpm(way)) continue;
    const Drill* drill = find_drill(drills, header.uuid, way.fingerprint);
    volume.ways.push_back({.way = way, .drilled = drill == nullptr ? "" : drill->opened});
  }
  volume.recovery = recovery_of(volume.ways);
  for (const DeviceIndex above : graph.above(at)) {
    if (graph[above].dm_name.empty()) {
      volume.busy.push_back(graph[above].path + " stands on it");
      continue;
    }
    volume.mapping = graph[above].dm_name;
    add_users(graph, above, volume);
  }
  return volume;
}

LockPlan plan_lock(const DeviceGraph& graph, const std::string& group,
                   const std::vector<Drill>& drills) {
  LockPlan plan{.group = group, .volumes = {}};
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    const auto& luks = graph[at].luks;
    if (!luks || std::ranges::none_of(
                     luks->tokens, [&](const Token& token) { return is_of_group(token, group); })) {
      continue;
    }
    plan.volumes.push_back(look_at_locked(graph, at, drills));
  }
  return plan;
}

}  // namespace volseal
