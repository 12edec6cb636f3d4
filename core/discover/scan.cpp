#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/discover/discover.h"
#include "core/discover/links.h"
#include "core/discover/mapper.h"
#include "core/discover/mounts.h"
#include "core/discover/probes.h"
#include "core/discover/sysfs.h"
#include "core/discover/zfs.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace volseal {
namespace {

class Scan {
 public:
  explicit Scan(const ScanOptions& options) : options_(options) {}

  DeviceGraph run() {
    read_host();
    read_devices();
    read_tables();
    connect();
    read_use();
    read_contents();
    find_backing();
    forget(gone_);
    return std::move(graph_);
  }

 private:
  std::string first_line(const char* name) const {
    const std::string text = read_file_if_any(options_.proc / "sys" / "kernel" / name).value_or("");
    return text.substr(0, text.find('\n'));
  }

  void read_host() {
    graph_.host = first_line("hostname");
    graph_.kernel = first_line("osrelease");
    graph_.boot_id = first_line("random/boot_id");
    graph_.taken_at = utc_now();
    graph_.root = ::geteuid() == 0;
    graph_.crypttab = read_crypttab(options_.etc);
    graph_.fstab = read_fstab(options_.etc);
  }

  void read_devices() {
    blocks_ = sysfs::read_blocks(options_.sys);
    for (const sysfs::Block& block : blocks_) {
      by_name_[block.device.name] = graph_.devices.size();
      by_number_[{block.device.major, block.device.minor}] = graph_.devices.size();
      graph_.devices.push_back(block.device);
    }
    name_devices(graph_.devices, options_.dev);
  }

  std::string name_of_number(DeviceNumber number) const {
    const auto at = by_number_.find({number.major, number.minor});
    return at == by_number_.end() ? "" : graph_[at->second].name;
  }

  void read_tables() {
    const NameOf name_of = [&](std::uint32_t major, std::uint32_t minor) {
      return name_of_number({.major = major, .minor = minor});
    };
    for (DeviceIndex at = 0; at < graph_.devices.size(); ++at) {
      Device& device = graph_[at];
      if (device.kind != DeviceKind::mapped) continue;
      device.table = options_.tables.empty()
                         ? read_table(device.major, device.minor, name_of)
                         : recorded_table(options_.tables / device.dm_name, name_of);
      for (const Segment& segment : device.table) {
        blocks_[at].below.insert(segment.devices.begin(), segment.devices.end());
      }
    }
  }

  void connect() {
    for (DeviceIndex at = 0; at < graph_.devices.size(); ++at) {
      for (const std::string& lower : blocks_[at].below) {
        const auto found = by_name_.find(lower);
        if (found != by_name_.end() && found->second != at) {
          graph_[at].below.push_back(found->second);
        }
      }
      std::ranges::sort(graph_[at].below);
      has_upper_.insert(graph_[at].below.begin(), graph_[at].below.end());
    }
  }

  std::optional<DeviceIndex> device_of(const Mount& mount) const {
    if (const auto at = by_number_.find({mount.major, mount.minor}); at != by_number_.end()) {
      return at->second;
    }
    // btrfs has a number of its own, and names one of its members.
    return mount.source.starts_with("/dev/") ? graph_.find(mount.source) : std::nullopt;
  }

  void add_mount(DeviceIndex at, const std::string& target) {
    auto& mounts = graph_[at].mounts;
    if (std::ranges::find(mounts, target) == mounts.end()) mounts.push_back(target);
  }

  void read_use() {
    const auto btrfs = sysfs::btrfs_members(options_.sys);
    mounts_ = read_mounts(options_.proc);
    for (const Mount& mount : mounts_) {
      const auto at = device_of(mount);
      if (!at) {
        if (mount.major == 0)
          graph_.deviceless.push_back(
              {.source = mount.source, .target = mount.target, .type = mount.type});
        continue;
      }
      add_mount(*at, mount.target);
      const auto members = btrfs.find(graph_[*at].name);
      if (mount.type != "btrfs" || members == btrfs.end()) continue;
      for (const std::string& member : members->second) {
        if (const auto other = by_name_.find(member); other != by_name_.end()) {
          add_mount(other->second, mount.target);
        }
      }
    }
    for (const Swap& swap : read_swaps(options_.proc)) {
      if (swap.is_file) {
        graph_.swap_files.push_back({.path = swap.path, .device = "", .size = swap.size});
      } else if (const auto at = graph_.find(swap.path)) {
        graph_[*at].swap_active = true;
      }
    }
    graph_.resume = name_of_number(sysfs::resume_device(options_.sys));
    graph_.datasets = read_datasets(options_.sys);
  }

  // btrfs gives each of its subvolumes another number than the one that mountinfo has.
  std::string btrfs_holder_of(const std::string& file) const {
    const Mount* found = nullptr;
    for (const Mount& mount : mounts_) {
      const bool inside =
          mount.target == "/" || file == mount.target || file.starts_with(mount.target + "/");
      if (inside && (found == nullptr || mount.target.size() >= found->target.size()))
        found = &mount;
    }
    const auto at = found != nullptr && found->type == "btrfs" ? device_of(*found) : std::nullopt;
    return at ? graph_[*at].name : "";
  }

  // The device that holds a file, by the number of its file system.
  std::string holder_of(const std::string& file, DeviceNumber number) const {
    if (const auto at = by_number_.find({number.major, number.minor}); at != by_number_.end())
      return graph_[at->second].name;
    for (const Mount& mount : mounts_) {
      if (mount.major != number.major || mount.minor != number.minor) continue;
      if (const auto at = device_of(mount)) return graph_[*at].name;
    }
    return btrfs_holder_of(file);
  }

  std::string holder_of(const std::string& file) const {
    struct stat info{};
    if (::stat(file.c_str(), &info) != 0) return "";
    return holder_of(file, {.major = ::major(info.st_dev), .minor = ::minor(info.st_dev)});
  }

  void find_backing() {
    for (DeviceIndex at = 0; at < graph_.devices.size(); ++at) {
      Device& device = graph_[at];
      if (device.kind == DeviceKind::loop && device.backing_device.empty()) {
        const auto number = file_systems_.find(at);
        device.backing_device = number == file_systems_.end()
                                    ? holder_of(device.backing_file)
                                    : holder_of(device.backing_file, number->second);
      }
      const std::string& zram = blocks_[at].zram_backing;
      if (zram.empty()) continue;
      const auto below = graph_.find(zram);
      device.backing_device = below ? graph_[*below].name : zram;
    }
    for (SwapFile& file : graph_.swap_files) file.device = holder_of(file.path);
  }

  // What stands on a suspended mapping waits with it.
  bool waits_for_suspended(DeviceIndex at) const {
    return any_suspended_ && std::ranges::any_of(graph_.closure_below(at), [&](DeviceIndex lower) {
             return blocks_[lower].suspended;
           });
  }

  void read_contents() {
    any_suspended_ = std::ranges::any_of(blocks_, &sysfs::Block::suspended);
    std::vector<DeviceIndex> to_read;
    for (DeviceIndex at = 0; at < graph_.devices.size(); ++at) {
      Device& device = graph_[at];
      device.suspended = blocks_[at].suspended;
      if (waits_for_suspended(at)) {
        device.content = {.kind = ContentKind::unreadable,
                          .detail = "it is suspended and would not answer"};
      } else if (const Device* known = known_as_it_is(at)) {
        device.content = known->content;
        device.luks = known->luks;
        device.gaps = known->gaps;
        device.opal = known->opal;
        device.backing_device = known->backing_device;
        device.partition_uuid = known->partition_uuid;
        device.partition_type = known->partition_type;
        device.partition_label = known->partition_label;
      } else {
        to_read.push_back(at);
      }
    }
    std::vector<ProbeJob> jobs;
    jobs.reserve(to_read.size());
    for (const DeviceIndex at : to_read) {
      jobs.push_back(job_of(at));
      const Device* const before = known_device(at);
      jobs.back().slow = before != nullptr && before->content.kind == ContentKind::unreadable &&
                         !options_.again.contains(graph_[at].name);
    }
    std::vector<Probe> found = probe_all(jobs, options_.patience, options_.before_reading);
    for (std::size_t i = 0; i < to_read.size(); ++i) take(to_read[i], std::move(found[i]));
  }

  ProbeJob job_of(DeviceIndex at) const {
    const Device& device = graph_[at];
    const bool idle = !has_upper_.contains(at) && device.mounts.empty() && !device.swap_active;
    ProbeJob job{.node = node_of(device, options_.dev),
                 .identity = device.name + '/' + std::to_string(device.diskseq),
                 .options = {.claim = options_.claim && idle,
                             .whole_disk = device.kind == DeviceKind::disk,
                             .sample = options_.sample,
                             .samples = {}}};
    if (!options_.sample) return job;
    for (const Segment& segment : device.table) {
      if (segment.target != "crypt" || segment.devices.empty() || segment.offsets.empty()) continue;
      const auto lower = by_name_.find(segment.devices[0]);
      if (lower == by_name_.end()) continue;
      job.options.samples.push_back({.node = node_of(graph_[lower->second], options_.dev),
                                     .start = segment.offsets[0] * 512,
                                     .size = segment.length * 512});
    }
    return job;
  }

  void take(DeviceIndex at, Probe found) {
    Device& device = graph_[at];
    if (found.no_medium) gone_.insert(at);
    if (found.file_system) file_systems_[at] = *found.file_system;
    device.content = std::move(found.content);
    device.luks = std::move(found.luks);
    device.gaps = std::move(found.gaps);
    device.sample = std::move(found.sample);
    device.opal = std::move(found.opal);
    device.in_use = std::move(found.in_use);
    name_partitions(at, found.partitions);
  }

  // The same device in the graph that was given.
  const Device* known_device(DeviceIndex at) const {
    if (options_.known == nullptr) return nullptr;
    const Device& device = graph_[at];
    const auto known = std::ranges::find(options_.known->devices, device.name, &Device::name);
    const bool same = known != options_.known->devices.end() && same_device(*known, device);
    return same ? &*known : nullptr;
  }

  // If what it holds need not be read again.
  const Device* known_as_it_is(DeviceIndex at) const {
    const Device* const before = known_device(at);
    if (before == nullptr) return nullptr;
    const auto lower = graph_.closure_below(at);
    if (std::ranges::any_of(lower, [&](DeviceIndex index) {
          return options_.again.contains(graph_[index].name);
        })) {
      return nullptr;
    }
    // A disk that failed may answer now; what is being encrypted is not what it was.
    if (before->content.kind == ContentKind::unreadable) return nullptr;
    if (before->luks && !before->luks->reencryption.empty()) return nullptr;
    return before;
  }

  static bool same_device(const Device& one, const Device& other) {
    const auto identity = [](const Device& device) {
      return std::tie(device.kind, device.major, device.minor, device.diskseq, device.size,
                      device.start, device.serial, device.wwn, device.dm_name, device.dm_uuid,
                      device.backing_file, device.md_level);
    };
    const auto segment = [](const Segment& line) {
      return std::tie(line.start, line.length, line.target, line.cipher, line.devices,
                      line.offsets);
    };
    // Kernels before 5.15 count no disks: there a name may be another disk's.
    return one.diskseq != 0 && identity(one) == identity(other) &&
           std::ranges::equal(one.table, other.table, {}, segment, segment);
  }

  void name_partitions(DeviceIndex disk, const std::vector<PartitionEntry>& entries) {
    if (entries.empty() || !has_upper_.contains(disk)) return;
    for (Device& device : graph_.devices) {
      if (device.kind != DeviceKind::partition || device.below.front() != disk) continue;
      for (const PartitionEntry& entry : entries) {
        if (entry.start != device.start) continue;
        device.partition_uuid = entry.uuid;
        device.partition_type = entry.type;
        device.partition_label = entry.label;
      }
    }
  }

  // Drives without a medium; nothing stands on them.
  void forget(const std::set<DeviceIndex>& gone) {
    if (gone.empty()) return;
    std::vector<DeviceIndex> moved(graph_.devices.size());
    std::vector<Device> left;
    for (DeviceIndex at = 0; at < graph_.devices.size(); ++at) {
      moved[at] = left.size();
      if (!gone.contains(at)) left.push_back(std::move(graph_[at]));
    }
    for (Device& device : left) {
      std::erase_if(device.below, [&](DeviceIndex lower) { return gone.contains(lower); });
      for (DeviceIndex& lower : device.below) lower = moved[lower];
    }
    graph_.devices = std::move(left);
  }

  const ScanOptions& options_;
  DeviceGraph graph_;
  std::vector<sysfs::Block> blocks_;
  std::vector<Mount> mounts_;
  std::map<std::string, DeviceIndex> by_name_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, DeviceIndex> by_number_;
  std::set<DeviceIndex> has_upper_;
  std::set<DeviceIndex> gone_;
  std::map<DeviceIndex, DeviceNumber> file_systems_;  // below loop devices
  bool any_suspended_ = false;
};

}  // namespace

DeviceGraph scan(const ScanOptions& options) {
  return Scan(options).run();
}

Device scan_image(const Path& path, bool sample) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) throw_errno(errno, "look at {}", path.native());
  if (!S_ISREG(info.st_mode)) {
    throw Error(Code::usage, "scan {}: neither an image file nor a block device of this machine",
                path.native());
  }
  Device device;
  device.name = path.native();
  device.path = path.native();
  device.kind = DeviceKind::file;
  device.size = static_cast<std::uint64_t>(info.st_size);
  device.read_only = (info.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0;
  Probe found = probe(path, {.whole_disk = true, .sample = sample});
  device.gaps = std::move(found.gaps);
  device.sample = std::move(found.sample);
  device.content = std::move(found.content);
  device.luks = std::move(found.luks);
  return device;
}

}  // namespace volseal
