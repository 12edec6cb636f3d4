#include "core/plan/obstacles.h"

#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/plan/cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace volseal {
namespace {

// 32 MiB go to the header and the moved first segment; a smaller file system is quicker copied.
constexpr std::uint64_t least_in_place = 64ULL << 20U;
constexpr std::uint64_t in_place_room = 32ULL << 20U;
// 16 MiB header, 16 MiB of data.
constexpr std::uint64_t least_fresh = 32ULL << 20U;

bool contains(const std::vector<DeviceIndex>& list, DeviceIndex at) {
  return std::ranges::find(list, at) != list.end();
}

bool lies_in(std::string_view path, std::string_view folder) {
  if (folder == "/") return true;
  return path == folder ||
         (path.starts_with(folder) && path.substr(folder.size()).starts_with('/'));
}

// The table's targets that may be written all over: what is written stays where it is.
bool may_rewrite(std::string_view target) {
  static constexpr std::array<std::string_view, 9> plain = {"linear",     "striped",   "mirror",
                                                            "raid",       "multipath", "cache",
                                                            "writecache", "crypt",     "integrity"};
  return std::ranges::find(plain, target) != plain.end();
}

void add_kind(std::vector<Obstacle>& obstacles, const DeviceGraph& graph, const Device& device) {
  switch (device.kind) {
    case DeviceKind::loop: {
      const auto below = graph.find(device.backing_device);
      obstacles.push_back({.what = fmt::format("it is the file {}", escaped(device.backing_file)),
                           .advice = fmt::format("encrypt {}, where that file lies",
                                                 device.backing_device.empty() || !below
                                                     ? "the file system"
                                                     : escaped(graph[*below].path))});
      return;
    }
    case DeviceKind::zram:
      obstacles.push_back({.what = "it is memory that is written back to a plain device",
                           .advice = "encrypt that device, or take backing_dev away"});
      return;
    case DeviceKind::optical:
      obstacles.push_back({.what = "it is an optical medium", .advice = "take it out"});
      return;
    case DeviceKind::network:
      obstacles.push_back(
          {.what = "it is a network device, which crypttab would wait for in vain",
           .advice = "encrypt it by hand, with '_netdev' in crypttab, or where it is served"});
      return;
    case DeviceKind::disk:
    case DeviceKind::partition:
    case DeviceKind::mapped:
    case DeviceKind::md:
    case DeviceKind::file:
    case DeviceKind::other: return;
  }
}

void add_stack(std::vector<Obstacle>& obstacles, const DeviceGraph& graph, DeviceIndex at,
               Task task) {
  const std::vector<DeviceIndex> above = graph.above(at);
  if (!above.empty()) {
    obstacles.push_back({.what = fmt::format("{} stands on it", escaped(graph[above.front()].path)),
                         .advice = "encrypt that, or take it away first"});
  }
  for (const Segment& segment : graph[at].table) {
    if (segment.target == "thin") {
      if (task != Task::encrypt_in_place) continue;
      obstacles.push_back(
          {.what = "it is a thin volume: encryption writes every block, and its pool may run full",
           .advice = "make a new thin volume, enroll that one and copy the data"});
      return;
    }
    if (segment.target.starts_with("snapshot")) {
      obstacles.push_back({.what = "it is a snapshot or has one, which would run full",
                           .advice = "remove the snapshot first"});
      return;
    }
    if (!may_rewrite(segment.target)) {
      obstacles.push_back({.what = fmt::format("device-mapper target '{}' below it is not known to "
                                               "bear rewriting",
                                               escaped(segment.target, 40)),
                           .advice = "move its data to another volume"});
      return;
    }
  }
}

void add_use(std::vector<Obstacle>& obstacles, const DeviceGraph& graph, DeviceIndex at,
             const PlanOptions& options) {
  const Device& device = graph[at];
  for (const std::string& mount : device.mounts) {
    const bool needed = std::ranges::any_of(
        options.needed, [&](const std::string& path) { return lies_in(path, mount); });
    if (needed) {
      obstacles.push_back(
          {.what = fmt::format("it is mounted at {}, and the running system needs it there",
                               escaped(mount)),
           .advice = "install the system anew on LUKS2 and run 'volseal protector add tpm', or "
                     "exempt it by a rule with a reason and a date"});
      continue;
    }
    if (!options.unmount) {
      obstacles.push_back(
          {.what = fmt::format("it is mounted at {}", escaped(mount)),
           .advice = fmt::format("umount {}, or run 'volseal enroll --unmount'", escaped(mount)),
           .by_unmount = true});
    }
    for (DeviceIndex other = 0; other < graph.devices.size(); ++other) {
      if (other == at) continue;
      for (const std::string& inner : graph[other].mounts) {
        if (inner == mount || !lies_in(inner, mount)) continue;
        obstacles.push_back({.what = fmt::format("{} is mounted inside it, at {}",
                                                 escaped(graph[other].path), escaped(inner)),
                             .advice = fmt::format("umount {}", escaped(inner))});
      }
    }
  }
  if (device.swap_active && !options.unmount) {
    obstacles.push_back({.what = "it is active swap",
                         .advice = fmt::format("swapoff {}, or run 'volseal enroll --unmount'",
                                               escaped(device.path)),
                         .by_unmount = true});
  }
  if (!device.in_use.empty() && device.mounts.empty() && !device.swap_active) {
    obstacles.push_back({.what = fmt::format("it is in use: {}", escaped(device.in_use)),
                         .advice = fmt::format("stop what uses it ('lsblk {0}', 'fuser -v {0}')",
                                               escaped(device.path))});
  }
}

// The same disk seen twice, or a copy: what is done to one would be done to the other behind its
// back.
void add_twins(std::vector<Obstacle>& obstacles, const DeviceGraph& graph, DeviceIndex at) {
  const Device& device = graph[at];
  const std::vector<DeviceIndex> own = graph.closure_below(at);
  for (DeviceIndex other = 0; other < graph.devices.size(); ++other) {
    if (contains(own, other)) continue;
    const Content& content = graph[other].content;
    if (device.content.uuid.empty() || content.uuid != device.content.uuid ||
        content.kind != device.content.kind || contains(graph.closure_below(other), at)) {
      continue;
    }
    obstacles.push_back(
        {.what = fmt::format("{} has a file system with the same UUID: a copy, or another path to "
                             "the same disk",
                             escaped(graph[other].path)),
         .advice = "set up multipath, or take the copy away"});
  }
  for (const DeviceIndex disk : graph.disks_below(at)) {
    if (graph[disk].wwn.empty()) continue;
    for (DeviceIndex other = 0; other < graph.devices.size(); ++other) {
      if (other == disk || contains(own, other) || graph[other].wwn != graph[disk].wwn ||
          !graph[other].below.empty()) {
        continue;
      }
      obstacles.push_back({.what = fmt::format("{} has the same world wide name: another path to "
                                               "the same disk",
                                               escaped(graph[other].path)),
                           .advice = "set up multipath, and enroll the map"});
    }
  }
}

void add_size(std::vector<Obstacle>& obstacles, const Device& device, Task task) {
  const std::uint64_t least = task == Task::encrypt_in_place ? least_in_place : least_fresh;
  if (device.size >= least) return;
  obstacles.push_back({.what = fmt::format("it has {}, and {} needs {}", human_size(device.size),
                                           task == Task::encrypt_in_place ? "encryption in place"
                                                                          : "a LUKS2 volume",
                                           human_size(least)),
                       .advice = "use a larger one, or exempt it by a rule"});
}

}  // namespace

std::vector<Obstacle> device_obstacles(const DeviceGraph& graph, DeviceIndex at, Task task,
                                       const PlanOptions& options) {
  const Device& device = graph[at];
  std::vector<Obstacle> obstacles;
  add_kind(obstacles, graph, device);
  add_stack(obstacles, graph, at, task);
  if (device.read_only) {
    obstacles.push_back(
        {.what = "it is read-only",
         .advice = fmt::format("find out why ('volseal watch' may have done it), then 'blockdev "
                               "--setrw {}'",
                               escaped(device.path))});
  }
  add_use(obstacles, graph, at, options);
  add_twins(obstacles, graph, at);
  add_size(obstacles, device, task);
  return obstacles;
}

std::vector<Obstacle> adoption_obstacles(const DeviceGraph& graph, DeviceIndex at) {
  const Device& device = graph[at];
  std::vector<Obstacle> obstacles;
  if (device.read_only) {
    obstacles.push_back(
        {.what = "it is read-only",
         .advice = fmt::format("find out why, then 'blockdev --setrw {}'", escaped(device.path))});
  }
  // Keyslots are added to an open volume as well; a header of another version is not.
  const std::vector<DeviceIndex> above = graph.above(at);
  if (device.luks && device.luks->version == 1 && !above.empty()) {
    obstacles.push_back(
        {.what = fmt::format("it is LUKS1, and open as {}", escaped(graph[above.front()].path)),
         .advice = fmt::format("unmount it, 'cryptsetup close {}', and plan again",
                               escaped(graph[above.front()].dm_name))});
  }
  return obstacles;
}

std::optional<Room> room_for(const Device& device) {
  if (is_ext(device.content)) return Room::shrink;
  if (device.content.size <= device.size && device.size - device.content.size >= in_place_room) {
    return Room::tail;
  }
  const bool linear =
      !device.table.empty() && std::ranges::all_of(device.table, [](const Segment& segment) {
        return segment.target == "linear" || segment.target == "striped";
      });
  // LVM's own prefix (lvm2, lib/activate/dev_manager.c); whether the group has room is seen later.
  if (linear && device.dm_uuid.starts_with("LVM-")) return Room::extend;
  return std::nullopt;
}

Obstacle no_room_obstacle(const Device& device) {
  return {.what = fmt::format("{} cannot shrink, and its file system fills it",
                              escaped(device.content.type, 40)),
          .advice = device.kind == DeviceKind::partition
                        ? "make the partition at least 32 MiB larger ('growpart' or 'sfdisk -N'), "
                          "or copy the data to a volume that is enrolled"
                        : "make the device at least 32 MiB larger, or copy the data to a volume "
                          "that is enrolled"};
}

Obstacle content_obstacle(const Device& device) {
  const Content& content = device.content;
  const std::string type = escaped(content.type, 40);
  switch (content.kind) {
    case ContentKind::filesystem:
    case ContentKind::other:
      return {.what = fmt::format("it holds {}, which is not encrypted in place",
                                  type.empty() ? "a file system" : type),
              .advice = "enroll a blank volume, copy the data there, then wipe this one"};
    case ContentKind::hibernation:
      return {.what = "it holds a suspended system",
              .advice = "let that system resume and shut down, then plan again"};
    case ContentKind::lvm_member:
      return {.what = "it is an LVM physical volume with no logical volume on it",
              .advice = "make logical volumes and enroll those, or 'pvremove' and wipe it"};
    case ContentKind::md_member:
      return {.what = "it is a member of an array that is not running",
              .advice = "start the array ('mdadm --assemble') and enroll that, or wipe the member"};
    case ContentKind::bcache_member:
      return {.what = "it is a part of bcache that is not running",
              .advice = "start bcache and enroll what it makes, or wipe the part"};
    case ContentKind::partition_table:
      return {.what = fmt::format("it has a partition table ({}) and room outside partitions that "
                                  "may hold data",
                                  type.empty() ? "unknown" : type),
              .advice = "make a partition of that room, or wipe it"};
    case ContentKind::unknown:
      return {.what = content.detail.empty() ? "nothing says what it holds, and it is not blank"
                                             : fmt::format("it cannot be said what it holds: {}",
                                                           escaped(content.detail)),
              .advice =
                  "if it holds nothing, wipe it ('blkdiscard -z' or 'dd if=/dev/zero') and "
                  "plan again"};
    case ContentKind::unreadable:
      return {.what = fmt::format("it could not be read{}{}", content.detail.empty() ? "" : ": ",
                                  escaped(content.detail)),
              .advice = "look at 'dmesg'; a failing disk is copied away first"};
    case ContentKind::luks1:
    case ContentKind::luks2:
    case ContentKind::blank:
    case ContentKind::swap: break;
  }
  return {.what = "it is not encrypted", .advice = "enroll a blank volume and copy the data there"};
}

std::vector<Obstacle> mount_obstacles(const DeviceGraph& graph, DeviceIndex at,
                                      const std::string& mount) {
  const std::vector<std::string> own = mount_points(graph, at);
  if (mount.empty() || std::ranges::find(own, mount) != own.end()) return {};
  const auto line = std::ranges::find(graph.fstab, mount, &FstabEntry::target);
  if (line != graph.fstab.end()) {
    return {{.what = fmt::format("fstab mounts {} at {}, where the rule wants this one",
                                 escaped(line->source), escaped(mount)),
             .advice = "take that line out of fstab, or name another place in the rule"}};
  }
  for (const Device& device : graph.devices) {
    if (std::ranges::find(device.mounts, mount) == device.mounts.end()) continue;
    return {{.what = fmt::format("{} is mounted at {}, where the rule wants this one",
                                 escaped(device.path), escaped(mount)),
             .advice = "name another place in the rule"}};
  }
  return {};
}

}  // namespace volseal
