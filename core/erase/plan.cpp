#include "core/erase/plan.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/coverage/ways.h"
#include "core/device/use.h"
#include "core/plan/mapping.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace volseal {

namespace {

// Of a header that has a file or device to itself, so much is overwritten at the most; larger ones
// are no headers (LUKS2 on-disk format 1.1, section 2.1).
constexpr std::uint64_t largest_detached_header = 136ULL << 20U;

// "header=PATH" of crypttab(5).
std::string header_option(const std::string& options) {
  constexpr std::string_view key = "header=";
  for (std::size_t at = 0; at < options.size();) {
    const std::size_t end = std::min(options.find(',', at), options.size());
    const std::string_view option = std::string_view(options).substr(at, end - at);
    if (option.starts_with(key)) return std::string(option.substr(key.size()));
    at = end + 1;
  }
  return "";
}

std::vector<const CrypttabEntry*> lines_of(const DeviceGraph& graph, const Device& device) {
  std::vector<const CrypttabEntry*> lines;
  for (const CrypttabEntry& entry : graph.crypttab) {
    if (names_volume(entry, device)) lines.push_back(&entry);
  }
  return lines;
}

std::vector<ErasedDisk> disks_of(const DeviceGraph& graph, DeviceIndex at) {
  std::vector<ErasedDisk> disks;
  for (const DeviceIndex index : graph.disks_below(at)) {
    const Device& disk = graph[index];
    disks.push_back({.path = disk.path,
                     .vendor = disk.vendor,
                     .model = disk.model,
                     .serial = disk.serial,
                     .wwn = disk.wwn,
                     .bus = disk.bus,
                     .rotational = disk.rotational});
  }
  return disks;
}

// Where the data begins; 0: not behind the header.
std::uint64_t data_begin(const LuksHeader& header) {
  std::uint64_t begin = UINT64_MAX;
  for (const LuksSegment& segment : header.segments) begin = std::min(begin, segment.offset);
  return begin == UINT64_MAX ? 0 : begin;
}

// LUKS1 puts eight keyslots of 4000 stripes one behind the other.
std::uint64_t room_of_header(const IdentifiedHeader& found) {
  if (found.header.version == 2) return found.bytes;
  constexpr std::uint64_t unit = 4096;
  constexpr std::uint64_t stripes = 4000;
  constexpr std::uint64_t slots = 8;
  const std::uint64_t slot = (found.header.key_bytes * stripes + unit - 1) / unit * unit;
  return found.keyslots_at + slots * slot;
}

class ErasurePlanner {
 public:
  ErasurePlanner(const DeviceGraph& graph, const ErasureOptions& options)
      : graph_(graph), options_(options) {}

  ErasurePlan plan() {
    plan_.group = options_.group;
    for (const std::string& name : options_.volumes) add(name);
    plan_.target = !options_.group.empty() ? options_.group
                   : plan_.volumes.empty() ? ""
                                           : plan_.volumes.front().path;
    return std::move(plan_);
  }

 private:
  void add(const std::string& name) {
    const auto at = graph_.find(name);
    if (!at)
      throw Error(Code::not_found, "erase {}: there is no such device or file", escaped(name));
    const Device& device = graph_[*at];
    ErasedVolume volume{.path = device.path,
                        .name = device.name,
                        .links = lasting_links(device),
                        .size = device.size,
                        .header = header_place(device)};
    const bool detached = volume.header != volume.path;
    const auto found = options_.identify(volume.header);
    if (!found) {
      throw Error(Code::not_luks, "erase {}: {}", escaped(device.path),
                  detached ? fmt::format("there is no LUKS header in {}", escaped(volume.header))
                           : "there is no LUKS header on it");
    }
    describe(volume, *found);
    volume.disks = disks_of(graph_, *at);
    for (const CrypttabEntry* line : lines_of(graph_, device))
      volume.mappings.push_back(line->name);
    lay_out(volume, *found, detached);
    look_at_header(volume, found->header);
    look_at_use(volume, *at);
    look_for_copies(volume, *at);
    plan_.volumes.push_back(std::move(volume));
  }

  std::string header_place(const Device& device) const {
    if (options_.header) return options_.header->native();
    if (device.luks) return device.path;
    for (const CrypttabEntry* line : lines_of(graph_, device)) {
      if (std::string place = header_option(line->options); !place.empty()) return place;
    }
    return device.path;
  }

  static void describe(ErasedVolume& volume, const IdentifiedHeader& found) {
    const LuksHeader& header = found.header;
    volume.luks_uuid = header.uuid;
    volume.label = header.label;
    volume.version = header.version;
    volume.key_bits = header.key_bytes * 8;
    if (!header.segments.empty()) volume.cipher = header.segments.front().cipher;
    std::set<std::string> groups;
    for (const Way& way : ways_in(header)) {
      volume.ways.push_back(fmt::format("keyslot {}: {}", way.keyslot, way.kind));
      if (!way.group.empty()) groups.insert(way.group);
    }
    for (const Token& token : header.tokens) {
      if (!token.group.empty()) groups.insert(token.group);
    }
    volume.groups.assign(groups.begin(), groups.end());
  }

  // The keyslots first: once they are gone nothing opens it, whatever else a power cut leaves; and
  // until they are, the header still says which volume it is.
  void lay_out(ErasedVolume& volume, const IdentifiedHeader& found, bool detached) {
    const std::uint64_t room = options_.size_of(volume.header);
    std::uint64_t end = data_begin(found.header);
    const bool apart = detached || end == 0 || end >= room;
    if (apart) end = room <= largest_detached_header ? room : room_of_header(found);
    end = std::min(end, room);
    if (found.keyslots_at == 0 || end <= found.keyslots_at) {
      obstacle(volume, "its header says of itself what cannot be: there is no room for keyslots",
               "nothing opens it as it is; 'volseal header verify' says more, and 'volseal header "
               "restore' writes a backup back");
      return;
    }
    volume.areas = {
        {.what = "keyslots", .offset = found.keyslots_at, .bytes = end - found.keyslots_at},
        {.what = "header", .offset = 0, .bytes = found.keyslots_at}};
  }

  void look_at_header(const ErasedVolume& volume, const LuksHeader& header) {
    if (header.uuid.empty()) {
      obstacle(
          volume, "its header cannot be read, so nobody can say which volume it is",
          "'volseal header restore' writes a backup back, if there is one; without one nothing "
          "opens the volume");
    }
    if (header.reencryption == "encrypt" || header.reencryption == "decrypt") {
      obstacle(volume,
               "it is only partly encrypted: what is still in the clear would stay readable",
               "finish that first ('volseal enroll', 'volseal decrypt', 'cryptsetup reencrypt "
               "--resume-only'), or overwrite the whole device");
    }
    const bool clear = std::ranges::any_of(header.segments, [](const LuksSegment& segment) {
      return segment.type != "crypt" || is_null_cipher(segment.cipher);
    });
    if (clear && header.reencryption.empty()) {
      obstacle(volume, "its header describes data that is not encrypted",
               "overwrite the whole device; destroying keys would hide nothing");
    }
  }

  void look_at_use(const ErasedVolume& volume, DeviceIndex at) {
    const std::string& path = volume.path;
    if (const std::string use = use_of(graph_, at); !use.empty()) {
      obstacle(
          volume, use,
          fmt::format("take it out of use ('umount', 'swapoff', 'vgchange -an', 'mdadm --stop', "
                      "'cryptsetup close'; 'lsblk {}' shows what stands on it)",
                      escaped(path)));
    }
    if (graph_[at].read_only) {
      obstacle(volume, "it is read-only",
               fmt::format("find out why, then 'blockdev --setrw {}'", escaped(path)));
    }
    if (volume.header == volume.path) return;
    const auto header = graph_.find(volume.header);
    if (!header) return;
    if (const std::string use = use_of(graph_, *header); !use.empty())
      obstacle(volume, fmt::format("of its header {}, {}", escaped(volume.header), use),
               "take that out of use");
  }

  // Another device with the same header opens with the same keys.
  void look_for_copies(ErasedVolume& volume, DeviceIndex at) const {
    for (DeviceIndex other = 0; other < graph_.devices.size(); ++other) {
      const Device& twin = graph_[other];
      if (other == at || twin.path == volume.header || !twin.luks ||
          twin.luks->uuid != volume.luks_uuid || volume.luks_uuid.empty()) {
        continue;
      }
      volume.left.push_back({.what =
                                 "a device with the same header (a copy, or another path to the "
                                 "same disk)",
                             .where = twin.path,
                             .holders = "",
                             .remove = fmt::format("volseal erase {}", escaped(twin.path)),
                             .header = true});
    }
  }

  void obstacle(const ErasedVolume& volume, const std::string& what, const std::string& advice) {
    plan_.obstacles.push_back(
        {.what = fmt::format("{}: {}", escaped(volume.path), what), .advice = advice});
  }

  const DeviceGraph& graph_;
  const ErasureOptions& options_;
  ErasurePlan plan_;
};

}  // namespace

ErasurePlan plan_erasure(const DeviceGraph& graph, const ErasureOptions& options) {
  return ErasurePlanner(graph, options).plan();
}

}  // namespace volseal
