#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/discover/discover.h"
#include "core/discover/links.h"
#include "core/discover/mapper.h"
#include "core/discover/mounts.h"
#include "core/discover/probe.h"
#include "core/discover/sysfs.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <set>
#include <string>
#include <thread>
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
    find_backing();
    read_contents();
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

  void read_tables() {
    const NameOf name_of = [&](std::uint32_t major, std::uint32_t minor) {
      const auto at = by_number_.find({major, minor});
      return at == by_number_.end() ? std::string() : graph_[at->second].name;
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
      if (!at) continue;
      add_mount(*at, mount.target);
      const auto members = btrfs.find(graph_[*at].name);
      if (mount.type != "btrfs" || members == btrfs.end()) continue;
      for (const std::string& member : members->second) {
        if (const auto other = by_name_.find(member); other != by_name_.end()) {
          add_mount(other->second, mount.target);
        }
      }
    }
    for (const std::string& swap : read_swap_devices(options_.proc)) {
      if (const auto at = graph_.find(swap)) graph_[*at].swap_active = true;
    }
  }

  // The device that holds a file, by the number of its file system.
  std::string holder_of(const std::string& file) const {
    struct stat info{};
    if (::stat(file.c_str(), &info) != 0) return "";
    const std::pair number(::major(info.st_dev), ::minor(info.st_dev));
    if (const auto at = by_number_.find(number); at != by_number_.end()) {
      return graph_[at->second].name;
    }
    for (const Mount& mount : mounts_) {
      if (std::pair(mount.major, mount.minor) != number) continue;
      if (const auto at = device_of(mount)) return graph_[*at].name;
    }
    return "";
  }

  void find_backing() {
    for (DeviceIndex at = 0; at < graph_.devices.size(); ++at) {
      Device& device = graph_[at];
      if (device.kind == DeviceKind::loop) device.backing_device = holder_of(device.backing_file);
      const std::string& zram = blocks_[at].zram_backing;
      if (zram.empty()) continue;
      const auto below = graph_.find(zram);
      device.backing_device = below ? graph_[*below].name : zram;
    }
  }

  void read_contents() {
    std::vector<DeviceIndex> to_read;
    for (DeviceIndex at = 0; at < graph_.devices.size(); ++at) {
      Device& device = graph_[at];
      device.suspended = blocks_[at].suspended;
      if (device.suspended) {
        device.content = {.kind = ContentKind::unreadable,
                          .detail = "it is suspended and would not answer"};
      } else if (const Device* known = known_as_it_is(at)) {
        device.content = known->content;
        device.luks = known->luks;
        device.partition_uuid = known->partition_uuid;
        device.partition_type = known->partition_type;
        device.partition_label = known->partition_label;
      } else {
        to_read.push_back(at);
      }
    }
    std::vector<Probe> found = probe_all(to_read);
    std::set<DeviceIndex> gone;
    for (std::size_t i = 0; i < to_read.size(); ++i) {
      const DeviceIndex at = to_read[i];
      Device& device = graph_[at];
      if (found[i].no_medium) gone.insert(at);
      device.content = std::move(found[i].content);
      device.luks = std::move(found[i].luks);
      device.in_use = std::move(found[i].in_use);
      name_partitions(at, found[i].partitions);
    }
    forget(gone);
  }

  // Most of a probe is waiting for the disk: ten disks take as long as one.
  std::vector<Probe> probe_all(const std::vector<DeviceIndex>& to_read) const {
    constexpr std::size_t most_threads = 16;
    std::vector<Probe> found(to_read.size());
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
      for (std::size_t i = next++; i < to_read.size(); i = next++) {
        const DeviceIndex at = to_read[i];
        const Device& device = graph_[at];
        const bool idle = !has_upper_.contains(at) && device.mounts.empty() && !device.swap_active;
        found[i] = probe(node_of(device, options_.dev), options_.claim && idle);
      }
    };
    std::vector<std::jthread> threads;
    while (threads.size() + 1 < std::min(most_threads, to_read.size())) threads.emplace_back(work);
    work();
    threads.clear();
    return found;
  }

  // The same device as in the graph that was given, if what it holds need not be read again.
  const Device* known_as_it_is(DeviceIndex at) const {
    if (options_.known == nullptr) return nullptr;
    const auto lower = graph_.closure_below(at);
    if (std::ranges::any_of(lower, [&](DeviceIndex index) {
          return options_.again.contains(graph_[index].name);
        })) {
      return nullptr;
    }
    const Device& device = graph_[at];
    const auto known = std::ranges::find(options_.known->devices, device.name, &Device::name);
    if (known == options_.known->devices.end() || !same_device(*known, device)) return nullptr;
    const Device& before = *known;
    // A disk that failed may answer now; what is being encrypted is not what it was.
    if (before.content.kind == ContentKind::unreadable) return nullptr;
    if (before.luks && !before.luks->reencryption.empty()) return nullptr;
    return &before;
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
};

}  // namespace

DeviceGraph scan(const ScanOptions& options) {
  return Scan(options).run();
}

Device scan_image(const Path& path) {
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
  Probe found = probe(path, false);
  device.content = std::move(found.content);
  device.luks = std::move(found.luks);
  return device;
}

}  // namespace volseal
