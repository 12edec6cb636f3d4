// A machine made by hand, for tests of what is judged and planned: a case in five lines.
//
//   Machine m;
//   const auto disk = m.disk("sda");
//   const auto luks = m.luks(m.partition(disk, "sda1"));
//   m.holds(m.crypt(luks, "data"), "ext4", "/srv");
//   EXPECT_EQ(m.verdict("/dev/sda1"), Verdict::covered);
#pragma once

#include "core/coverage/coverage.h"
#include "core/device/device.h"
#include "core/policy/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace volseal::test {

class Machine {
 public:
  using At = DeviceIndex;

  static constexpr std::uint64_t gibibyte = 1ULL << 30U;
  static constexpr std::uint64_t header_sectors = 32768;

  At disk(const std::string& name, DeviceKind kind = DeviceKind::disk) {
    Device device;
    device.name = name;
    device.path = "/dev/" + name;
    device.kind = kind;
    device.size = gibibyte;
    device.content.kind = ContentKind::blank;
    graph.devices.push_back(std::move(device));
    return graph.devices.size() - 1;
  }

  At partition(At disk_at, const std::string& name) {
    graph[disk_at].content = {.kind = ContentKind::partition_table, .type = "gpt"};
    return made_of(name, {disk_at}, DeviceKind::partition);
  }

  At made_of(const std::string& name, const std::vector<At>& below, DeviceKind kind) {
    const At at = disk(name, kind);
    graph[at].below = below;
    return at;
  }

  // A LUKS2 volume enrolled as volseal does it: recovery key in keyslot 0, TPM in 1.
  At luks(At at) {
    LuksHeader header;
    header.uuid = "uuid-" + graph[at].name;
    header.key_bytes = 64;
    header.segments = {{.type = "crypt",
                        .offset = header_sectors * 512,
                        .cipher = "aes-xts-plain64",
                        .sector_size = 4096}};
    header.keyslots = {
        {.id = 0, .type = "luks2", .pbkdf = "pbkdf2", .cost = 1000, .key_bytes = 64},
        {.id = 1, .type = "luks2", .pbkdf = "pbkdf2", .cost = 1000, .key_bytes = 64}};
    header.tokens = {{.id = 0, .type = "systemd-recovery", .keyslots = {0}},
                     {.id = 1, .type = "volseal-tpm2", .keyslots = {1}, .group = "default"}};
    graph[at].content = {.kind = ContentKind::luks2, .type = "crypto_LUKS", .uuid = header.uuid};
    graph[at].luks = std::move(header);
    return at;
  }

  // A dm-crypt mapping over it.
  At crypt(At below, const std::string& name, const std::string& cipher = "aes-xts-plain64",
           std::uint32_t key_bytes = 64) {
    const At at = mapped(name, "crypt", {below});
    graph[at].table[0].cipher = cipher;
    graph[at].table[0].key_bytes = key_bytes;
    graph[at].table[0].sector_size = 4096;
    if (graph[below].luks) graph[at].table[0].offsets = {header_sectors};
    return at;
  }

  // A device-mapper device of one segment a device below, or of one segment over all of them.
  At mapped(const std::string& name, const std::string& target, const std::vector<At>& below,
            bool one_segment = true) {
    const At at = made_of(fmt::format("dm-{}", graph.devices.size()), below, DeviceKind::mapped);
    Device& device = graph[at];
    device.dm_name = name;
    device.path = "/dev/mapper/" + name;
    Segment segment{.start = 0, .length = device.size / 512, .target = target};
    for (const At lower : below) {
      segment.devices.push_back(graph[lower].name);
      segment.offsets.push_back(0);
      if (!one_segment) {
        device.table.push_back(segment);
        segment.devices.clear();
        segment.offsets.clear();
      }
    }
    if (one_segment) device.table.push_back(segment);
    return at;
  }

  At holds(At at, const std::string& type, const std::string& mount = "") {
    graph[at].content = {.kind = type == "swap" ? ContentKind::swap : ContentKind::filesystem,
                         .type = type,
                         .uuid = "fs-" + graph[at].name};
    if (!mount.empty()) graph[at].mounts.push_back(mount);
    return at;
  }

  Coverage coverage() const { return judge(graph, policy, "2026-06-01"); }

  VolumeVerdict of(const std::string& path) const {
    const Coverage all = coverage();
    const auto at = std::ranges::find(all.volumes, path, &VolumeVerdict::path);
    if (at == all.volumes.end()) throw std::runtime_error(path + " is no volume of this machine");
    return *at;
  }
  Verdict verdict(const std::string& path) const { return of(path).verdict; }

  DeviceGraph graph;
  Policy policy = parse_policy("", "test");
};

}  // namespace volseal::test
