#include "core/coverage/coverage.h"
#include "core/coverage/layers.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace volseal {

namespace {

bool only(const Device& device, std::string_view target) {
  return device.kind == DeviceKind::mapped && !device.table.empty() &&
         std::ranges::all_of(device.table,
                             [&](const Segment& segment) { return segment.target == target; });
}

// Partitions that hold no data of anybody: BIOS boot, PReP boot, extended (MBR). Anyone can give a
// partition such a type, so it counts only at the size of such a partition: GRUB's core image is
// below 1 MiB, PReP loaders get 8 MiB, the kernel shows two sectors of an extended one.
bool holds_no_data(const Device& device) {
  struct BootType {
    std::string_view type;
    std::uint64_t most;  // bytes
  };
  static constexpr std::array<BootType, 5> types = {
      {{.type = "21686148-6449-6e6f-744e-656564454649", .most = 4ULL << 20U},
       {.type = "9e1a2d38-c612-4316-aa26-8b49521e5a8b", .most = 16ULL << 20U},
       {.type = "0x5", .most = 4096},
       {.type = "0xf", .most = 4096},
       {.type = "0x85", .most = 4096}}};
  if (device.kind != DeviceKind::partition) return false;
  const auto found = std::ranges::find(types, device.partition_type, &BootType::type);
  return found != types.end() && device.size <= found->most;
}

// A thin pool, and the linear mapping that LVM puts over it, hold what their thin volumes hold.
bool is_thin_pool(const DeviceGraph& graph, const Device& device) {
  if (only(device, "thin-pool")) return true;
  return only(device, "linear") && device.below.size() == 1 &&
         only(graph[device.below[0]], "thin-pool");
}

bool has_header(const DeviceGraph& graph, DeviceIndex at) {
  return graph[at].luks.has_value();
}

}  // namespace

bool is_half_encrypted(const Device& device) {
  const std::optional<LuksHeader>& header = device.luks;
  return header && (header->reencryption == "encrypt" || header->reencryption == "decrypt");
}

std::optional<DeviceIndex> container_of(const DeviceGraph& graph, DeviceIndex mapping) {
  const Device& device = graph[mapping];
  if (device.kind != DeviceKind::mapped || device.below.size() != 1) return std::nullopt;
  DeviceIndex lower = device.below[0];
  const bool crypt = std::ranges::any_of(
      device.table, [](const Segment& segment) { return segment.target == "crypt"; });
  // LUKS2 with integrity: dm-integrity stands between the header and dm-crypt.
  if (crypt && !has_header(graph, lower) && only(graph[lower], "integrity") &&
      graph[lower].below.size() == 1) {
    lower = graph[lower].below[0];
  }
  if (!has_header(graph, lower)) return std::nullopt;
  // While it is being encrypted, an open volume may have linear segments only.
  if (!crypt && !is_half_encrypted(graph[lower])) return std::nullopt;
  return lower;
}

std::vector<DeviceIndex> volumes_of(const DeviceGraph& graph) {
  std::vector<bool> has_above(graph.devices.size(), false);
  for (const Device& device : graph.devices) {
    for (const DeviceIndex lower : device.below) {
      if (lower < has_above.size()) has_above[lower] = true;
    }
  }
  std::vector<bool> listed(graph.devices.size(), false);
  std::vector<DeviceIndex> volumes;
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    const Device& device = graph[at];
    // A file system on a whole disk that also has partitions, or a mounted origin below a snapshot,
    // is used by itself too.
    const bool used = !device.mounts.empty() || device.swap_active;
    if (!used && (has_above[at] || holds_no_data(device) || is_thin_pool(graph, device))) continue;
    const DeviceIndex volume = container_of(graph, at).value_or(at);
    if (listed[volume]) continue;
    listed[volume] = true;
    volumes.push_back(volume);
  }
  return volumes;
}

}  // namespace volseal
