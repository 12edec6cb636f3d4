#include "core/device/use.h"

#include "core/base/escape.h"

#include <fmt/format.h>

namespace volseal {

std::string use_of(const DeviceGraph& graph, DeviceIndex at) {
  const Device& device = graph[at];
  const std::vector<DeviceIndex> above = graph.above(at);
  if (!above.empty()) return fmt::format("it is open as {}", escaped(graph[above.front()].path));
  if (!device.mounts.empty()) return fmt::format("it is mounted at {}", escaped(device.mounts[0]));
  if (device.swap_active) return "it is active swap";
  if (!device.in_use.empty()) return fmt::format("it is in use: {}", escaped(device.in_use));
  for (const Device& other : graph.devices) {
    if (device.kind == DeviceKind::file && other.backing_file == device.path)
      return fmt::format("it is attached as {}", escaped(other.path));
  }
  return "";
}

}  // namespace volseal
