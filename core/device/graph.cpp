#include "core/device/device.h"

#include <algorithm>

namespace volseal {

std::optional<DeviceIndex> DeviceGraph::find(const std::string& name) const {
  const auto called = [&](const Device& device) {
    return device.name == name || device.path == name || "/dev/" + device.name == name ||
           std::ranges::find(device.links, name) != device.links.end();
  };
  const auto at = std::ranges::find_if(devices, called);
  if (at == devices.end()) return std::nullopt;
  return static_cast<DeviceIndex>(at - devices.begin());
}

std::vector<DeviceIndex> DeviceGraph::above(DeviceIndex at) const {
  std::vector<DeviceIndex> result;
  for (DeviceIndex i = 0; i < devices.size(); ++i) {
    const auto& below = devices[i].below;
    if (std::ranges::find(below, at) != below.end()) result.push_back(i);
  }
  return result;
}

bool DeviceGraph::is_leaf(DeviceIndex at) const {
  return above(at).empty();
}

std::vector<DeviceIndex> DeviceGraph::closure_below(DeviceIndex at) const {
  std::vector<DeviceIndex> order;
  std::vector<bool> seen(devices.size(), false);
  std::vector<DeviceIndex> stack{at};
  while (!stack.empty()) {
    const DeviceIndex index = stack.back();
    stack.pop_back();
    if (index >= devices.size() || seen[index]) continue;
    seen[index] = true;
    order.push_back(index);
    for (const DeviceIndex lower : devices[index].below) stack.push_back(lower);
  }
  return order;
}

std::vector<DeviceIndex> DeviceGraph::disks_below(DeviceIndex at) const {
  std::vector<DeviceIndex> result;
  for (const DeviceIndex index : closure_below(at)) {
    if (devices[index].below.empty()) result.push_back(index);
  }
  return result;
}

std::set<std::string> DeviceGraph::spindles_below(DeviceIndex at) const {
  std::set<std::string> result;
  std::vector<bool> seen(devices.size(), false);
  std::vector<DeviceIndex> stack{at};
  while (!stack.empty()) {
    const DeviceIndex top = stack.back();
    stack.pop_back();
    for (const DeviceIndex index : disks_below(top)) {
      if (seen[index]) continue;
      seen[index] = true;
      const Device& disk = devices[index];
      if (const auto holder = find(disk.backing_device); holder && !disk.backing_device.empty()) {
        stack.push_back(*holder);
      } else if (disk.rotational) {
        result.insert(disk.name);
      }
    }
  }
  return result;
}

std::string_view to_string(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::disk: return "disk";
    case DeviceKind::partition: return "partition";
    case DeviceKind::mapped: return "mapped";
    case DeviceKind::md: return "md";
    case DeviceKind::loop: return "loop";
    case DeviceKind::zram: return "zram";
    case DeviceKind::optical: return "optical";
    case DeviceKind::network: return "network";
    case DeviceKind::file: return "file";
    case DeviceKind::other: return "other";
  }
  return "other";
}

std::string_view to_string(ContentKind kind) {
  switch (kind) {
    case ContentKind::blank: return "blank";
    case ContentKind::filesystem: return "filesystem";
    case ContentKind::swap: return "swap";
    case ContentKind::hibernation: return "hibernation";
    case ContentKind::luks1: return "luks1";
    case ContentKind::luks2: return "luks2";
    case ContentKind::lvm_member: return "lvm_member";
    case ContentKind::md_member: return "md_member";
    case ContentKind::bcache_member: return "bcache_member";
    case ContentKind::partition_table: return "partition_table";
    case ContentKind::other: return "other";
    case ContentKind::unknown: return "unknown";
    case ContentKind::unreadable: return "unreadable";
  }
  return "unknown";
}

std::vector<std::string> lasting_links(const Device& device) {
  std::vector<std::string> links;
  for (const std::string& link : device.links) {
    const bool of_content = link.starts_with("/dev/disk/by-uuid/") ||
                            link.starts_with("/dev/disk/by-label/") ||
                            link.starts_with("/dev/disk/by-diskseq/");
    if (!of_content) links.push_back(link);
  }
  return links;
}

}  // namespace volseal
