#include "core/coverage/consumers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace volseal {

namespace {

constexpr std::array<std::string_view, 2> of_memory = {"tmpfs", "ramfs"};
// systemd mounts these on every machine; what programs keep there is as short-lived as they are.
constexpr std::array<std::string_view, 4> of_the_system = {"/dev", "/proc", "/run", "/sys"};

constexpr std::array<std::string_view, 16> of_other_machines = {
    "nfs",    "nfs4",     "cifs",           "smb3",     "smbfs",     "ceph",
    "9p",     "afs",      "virtiofs",       "lustre",   "glusterfs", "fuse.sshfs",
    "beegfs", "orangefs", "fuse.glusterfs", "fuse.s3fs"};

bool is_in(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

bool concerns_us(const Deviceless& mounted) {
  if (std::ranges::find(of_other_machines, mounted.type) != of_other_machines.end()) return true;
  return std::ranges::find(of_memory, mounted.type) != of_memory.end() &&
         std::ranges::none_of(of_the_system,
                              [&](auto folder) { return is_in(mounted.target, folder); });
}

class Builder {
 public:
  explicit Builder(const DeviceGraph& graph)
      : all_{.graph = graph, .subjects = std::vector(graph.devices.size(), Subject::device)},
        real_(graph.devices.size()) {}

  Consumers build() {
    for (DeviceIndex at = 0; at < real_; ++at) {
      for (const Gap& gap : all_.graph[at].gaps) add_gap(at, gap);
    }
    for (const SwapFile& file : all_.graph.swap_files) add_swap_file(file);
    for (const Deviceless& mounted : all_.graph.deviceless) {
      if (concerns_us(mounted)) add_mount(mounted);
    }
    for (const Dataset& dataset : all_.graph.datasets) add_dataset(dataset);
    return std::move(all_);
  }

 private:
  Device& add(Subject subject, std::string name, DeviceKind kind, std::string_view type) {
    Device device;
    device.path = name;
    device.name = std::move(name);
    device.kind = kind;
    device.content = {.kind = ContentKind::filesystem, .type = std::string(type)};
    all_.subjects.push_back(subject);
    return all_.graph.devices.emplace_back(std::move(device));
  }

  void add_gap(DeviceIndex disk, const Gap& gap) {
    const std::string name = fmt::format("{}@{}", all_.graph[disk].path, gap.start);
    Device& device = add(Subject::gap, name, DeviceKind::partition, gap.type);
    device.start = gap.start;
    device.size = gap.size;
    device.below = {disk};
    device.removable = all_.graph[disk].removable;
    if (!gap.type.empty()) return;
    device.content = {.kind = gap.random ? ContentKind::unknown : ContentKind::other,
                      .type = gap.random ? "" : "data",
                      .detail = "outside of the partitions, and it looks random"};
  }

  void add_swap_file(const SwapFile& file) {
    Device& device = add(Subject::swap_file, file.path, DeviceKind::loop, "swap");
    device.size = file.size;
    device.backing_file = file.path;
    device.backing_device = file.device;
    device.content.kind = ContentKind::swap;
    device.swap_active = true;
  }

  // What is in memory may be swapped out.
  void add_mount(const Deviceless& mounted) {
    const bool memory = std::ranges::find(of_memory, mounted.type) != of_memory.end();
    const std::string& name = memory ? mounted.target : mounted.source;
    Device& device =
        add(Subject::mount, name, memory ? DeviceKind::zram : DeviceKind::network, mounted.type);
    device.mounts = {mounted.target};
    if (!memory) return;
    for (DeviceIndex at = 0; at + 1 < all_.graph.devices.size(); ++at) {
      const Device& other = all_.graph[at];
      if (other.swap_active && other.kind != DeviceKind::zram) device.below.push_back(at);
    }
  }

  std::vector<DeviceIndex> members_of(const std::string& pool) const {
    std::vector<DeviceIndex> members;
    for (DeviceIndex at = 0; at < real_; ++at) {
      const Content& content = all_.graph[at].content;
      if (content.type == "zfs_member" && content.label == pool) members.push_back(at);
    }
    return members;
  }

  void add_dataset(const Dataset& dataset) {
    const std::vector<DeviceIndex> members =
        members_of(dataset.name.substr(0, dataset.name.find('/')));
    Segment layer{.target = "zfs"};
    if (dataset.encryption != "off") layer.cipher = dataset.encryption;
    for (const DeviceIndex member : members) {
      layer.devices.push_back(all_.graph[member].name);
      layer.offsets.push_back(0);
    }
    // A volume of ZFS is a block device, too; what is in it was read there.
    if (const auto volume = all_.graph.find("/dev/zvol/" + dataset.name)) {
      Device& device = all_.graph[*volume];
      device.kind = DeviceKind::mapped;
      device.table = {std::move(layer)};
      device.table[0].length = device.size / 512;
      device.below = members;
      return;
    }
    Device& device = add(Subject::dataset, dataset.name, DeviceKind::mapped, "zfs");
    device.table = {std::move(layer)};
    device.below = members;
    if (!dataset.mount.empty()) device.mounts = {dataset.mount};
  }

  Consumers all_;
  DeviceIndex real_;
};

}  // namespace

std::optional<Consumers> consumers_of(const DeviceGraph& graph) {
  if (graph.swap_files.empty() && graph.datasets.empty() &&
      std::ranges::none_of(graph.deviceless, concerns_us) &&
      std::ranges::all_of(graph.devices, [](const Device& device) { return device.gaps.empty(); }))
    return std::nullopt;
  return Builder(graph).build();
}

}  // namespace volseal
