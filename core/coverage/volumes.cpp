#include "core/coverage/coverage.h"
#include "core/coverage/layers.h"

#include <algorithm>
#include <array>
#include <optional>

namespace volseal {

namespace {

// Partitions that hold no data of anybody: BIOS boot, PReP boot, extended (MBR).
bool holds_no_data(const Device& device) {
  static constexpr std::array types = {"21686148-6449-6e6f-744e-656564454649",
                                       "9e1a2d38-c612-4316-aa26-8b49521e5a8b", "0x5", "0xf",
                                       "0x85"};
  return device.kind == DeviceKind::partition &&
         std::ranges::find(types, device.partition_type) != types.end();
}

// The LUKS volume that this mapping is the open side of.
std::optional<DeviceIndex> container_of(const DeviceGraph& graph, const Device& device) {
  if (device.kind != DeviceKind::mapped || device.below.size() != 1) return std::nullopt;
  const DeviceIndex lower = device.below[0];
  if (!graph[lower].luks) return std::nullopt;
  const bool crypt = std::ranges::any_of(
      device.table, [](const Segment& segment) { return segment.target == "crypt"; });
  // While it is being encrypted, an open volume may have linear segments only.
  if (!crypt && graph[lower].luks->reencryption.empty()) return std::nullopt;
  return lower;
}

}  // namespace

std::vector<DeviceIndex> opened_volumes(const DeviceGraph& graph, DeviceIndex container) {
  std::vector<DeviceIndex> opened;
  for (const DeviceIndex above : graph.above(container)) {
    if (container_of(graph, graph[above]) == container) opened.push_back(above);
  }
  return opened;
}

std::vector<DeviceIndex> volumes_of(const DeviceGraph& graph) {
  std::vector<bool> has_above(graph.devices.size(), false);
  for (const Device& device : graph.devices) {
    for (const DeviceIndex lower : device.below) {
      if (lower < has_above.size()) has_above[lower] = true;
    }
  }
  std::vector<DeviceIndex> volumes;
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    const Device& device = graph[at];
    // A file system on a whole disk that also has partitions, or a mounted origin below a snapshot,
    // is used by itself too.
    const bool used = !device.mounts.empty() || device.swap_active;
    if ((has_above[at] && !used) || holds_no_data(device)) continue;
    const DeviceIndex volume = container_of(graph, device).value_or(at);
    if (std::ranges::find(volumes, volume) == volumes.end()) volumes.push_back(volume);
  }
  return volumes;
}

}  // namespace volseal
