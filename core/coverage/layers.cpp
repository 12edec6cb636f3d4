#include "core/coverage/layers.h"

#include "core/base/escape.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace volseal {

namespace {

bool is_null(std::string_view cipher) {
  return cipher.empty() || cipher == "null" || cipher.starts_with("null-") ||
         cipher.find("cipher_null") != std::string_view::npos;
}

void add_once(std::vector<std::string>& list, std::string text) {
  if (std::ranges::find(list, text) == list.end()) list.push_back(std::move(text));
}

// The worst of both; a device is no better than the worst place its data can lie in.
void join(Layers& all, Layers one) {
  if (one.protection > all.protection) {
    all.protection = one.protection;
    all.percent = one.percent;
  } else if (one.protection == Protection::converting && all.protection == Protection::converting) {
    all.percent = std::min(all.percent, one.percent);
  }
  for (std::string& reason : one.reasons) add_once(all.reasons, std::move(reason));
  for (std::string& weakness : one.weaknesses) add_once(all.weaknesses, std::move(weakness));
  for (const DeviceIndex header : one.headers) {
    if (std::ranges::find(all.headers, header) == all.headers.end()) all.headers.push_back(header);
  }
  if (all.cipher.empty()) {
    all.cipher = std::move(one.cipher);
    all.key_bytes = one.key_bytes;
    all.sector_size = one.sector_size;
  }
}

Layers of_kind(Protection protection, std::string reason) {
  Layers layers;
  layers.protection = protection;
  layers.reasons.push_back(std::move(reason));
  return layers;
}

// XTS splits its key in two; the strength is that of one half.
std::uint32_t effective_key_bytes(std::string_view cipher, std::uint32_t key_bytes) {
  return cipher.find("-xts-") != std::string_view::npos ? key_bytes / 2 : key_bytes;
}

void note_cipher(Layers& layers, const std::string& name, const std::string& cipher,
                 std::uint32_t key_bytes) {
  if (is_null(cipher)) {
    layers.protection = Protection::plain;
    layers.reasons.push_back(
        fmt::format("{}: its cipher is null, the data lies there in clear", name));
    return;
  }
  layers.cipher = cipher;
  layers.key_bytes = key_bytes;
  if (cipher.find("-ecb") != std::string::npos) {
    layers.weaknesses.push_back(fmt::format("{}: ECB shows which blocks are equal", name));
  }
  if (key_bytes != 0 && effective_key_bytes(cipher, key_bytes) < 16) {
    layers.weaknesses.push_back(fmt::format("{}: a key of {} bits is short", name, key_bytes * 8));
  }
}

class Walker {
 public:
  explicit Walker(const DeviceGraph& graph) : graph_(graph) {}

  // What is written to `at`, by whatever is in it or on it.
  Layers data_of(DeviceIndex at) {
    const Device& device = graph_[at];
    // A cycle is no stack that a kernel could have made.
    if (!entered_.insert(at).second) {
      return of_kind(Protection::unknown,
                     fmt::format("{}: the devices form a cycle", name_of(device)));
    }
    Layers layers = walk(at, device);
    entered_.erase(at);
    return layers;
  }

  // What is written into the LUKS volume whose header lies on `at`.
  Layers luks_of(DeviceIndex at) const {
    const Device& device = graph_[at];
    const LuksHeader& header = *device.luks;
    const std::string name = name_of(device);
    Layers layers;
    layers.headers.push_back(at);
    if (header.segments.empty()) {
      layers.protection = Protection::unknown;
      layers.reasons.push_back(
          fmt::format("{}: its LUKS header cannot be read: {}", name, escaped(header.damage)));
      return layers;
    }
    for (const LuksSegment& segment : header.segments) {
      Layers one;
      if (segment.type == "crypt") {
        note_cipher(one, name, segment.cipher, header.key_bytes);
        one.sector_size = segment.sector_size;
      } else if (header.reencryption.empty()) {
        one = of_kind(Protection::plain,
                      fmt::format("{}: a segment of its LUKS header is not encrypted", name));
      }
      join(layers, std::move(one));
    }
    convert(layers, header, name);
    if (header.version == 1)
      layers.weaknesses.push_back(fmt::format("{}: LUKS1 has no place for tokens", name));
    if (!header.damage.empty())
      layers.weaknesses.push_back(fmt::format("{}: {}", name, escaped(header.damage)));
    return layers;
  }

 private:
  static std::string name_of(const Device& device) { return escaped(device.path); }

  static void convert(Layers& layers, const LuksHeader& header, const std::string& name) {
    if (header.reencryption != "encrypt" && header.reencryption != "decrypt") return;
    const double percent = header.data_bytes == 0
                               ? 0
                               : 100.0 * static_cast<double>(header.encrypted_bytes) /
                                     static_cast<double>(header.data_bytes);
    Layers converting =
        of_kind(Protection::converting,
                fmt::format("{}: {} % of it is encrypted", name, static_cast<int>(percent)));
    converting.percent = percent;
    join(layers, std::move(converting));
  }

  Layers walk(DeviceIndex at, const Device& device) {
    switch (device.kind) {
      case DeviceKind::mapped: return mapped(device);
      case DeviceKind::zram:
        if (!device.backing_device.empty()) return named(device.backing_device, device);
        return of_kind(Protection::ephemeral, "its memory is gone with the power");
      case DeviceKind::loop:
        if (!device.backing_device.empty()) return named(device.backing_device, device);
        return of_kind(Protection::unknown,
                       fmt::format("{}: where its file lies is not known", name_of(device)));
      case DeviceKind::network:
        return of_kind(Protection::unknown,
                       fmt::format("{}: what is at the other end is not known", name_of(device)));
      case DeviceKind::disk:
      case DeviceKind::partition:
      case DeviceKind::md:
      case DeviceKind::optical:
      case DeviceKind::file:
      case DeviceKind::other: return below(at, device);
    }
    return below(at, device);
  }

  // Everything it is made of; a disk is made of nothing and keeps what it is given.
  Layers below(DeviceIndex /*at*/, const Device& device) {
    if (device.below.empty())
      return of_kind(Protection::plain, fmt::format("{} is not encrypted", name_of(device)));
    Layers all;
    for (const DeviceIndex lower : device.below) join(all, data_of(lower));
    return all;
  }

  Layers mapped(const Device& device) {
    // Without a table there is only the kernel's word of what is below: no layer is credited.
    if (device.table.empty()) {
      Layers layers = below(0, device);
      join(layers, of_kind(Protection::unknown,
                           fmt::format("{}: its table could not be read", name_of(device))));
      return layers;
    }
    Layers all;
    for (const Segment& segment : device.table) join(all, of_segment(device, segment));
    return all;
  }

  Layers of_segment(const Device& device, const Segment& segment) {
    // Nothing is stored there.
    if (segment.target == "zero" || segment.target == "error") return {};
    if (segment.target == "crypt") return crypt(device, segment);
    if (segment.devices.empty()) return below(0, device);
    const std::optional<DeviceIndex> header = converting_header(segment);
    if (header) return luks_of(*header);
    Layers all;
    for (const std::string& name : segment.devices) join(all, named(name, device));
    return all;
  }

  // A linear segment over a volume of ours that is being encrypted is a part that is still in
  // clear.
  std::optional<DeviceIndex> converting_header(const Segment& segment) const {
    if (segment.target != "linear" || segment.devices.size() != 1) return std::nullopt;
    const auto lower = graph_.find(segment.devices[0]);
    if (!lower || !graph_[*lower].luks || graph_[*lower].luks->reencryption.empty())
      return std::nullopt;
    return lower;
  }

  Layers crypt(const Device& device, const Segment& segment) {
    Layers layers;
    note_cipher(layers, name_of(device), segment.cipher, segment.key_bytes);
    layers.sector_size = segment.sector_size;
    if (layers.protection != Protection::encrypted) return layers;
    for (const std::string& name : segment.devices) {
      const auto lower = graph_.find(name);
      if (!lower || !graph_[*lower].luks) continue;
      layers.headers.push_back(*lower);
      const LuksHeader& header = *graph_[*lower].luks;
      convert(layers, header, name_of(graph_[*lower]));
      if (header.version == 1) {
        layers.weaknesses.push_back(
            fmt::format("{}: LUKS1 has no place for tokens", name_of(graph_[*lower])));
      }
      if (!header.damage.empty()) {
        layers.weaknesses.push_back(
            fmt::format("{}: {}", name_of(graph_[*lower]), escaped(header.damage)));
      }
      return layers;
    }
    // No header: plain dm-crypt, or a detached one.
    if (has_random_key(device)) {
      layers.protection = Protection::ephemeral;
      layers.reasons.emplace_back("its random key is gone with the power");
    } else {
      layers.weaknesses.push_back(
          fmt::format("{}: plain dm-crypt or a detached header; no way to recover it is known",
                      name_of(device)));
    }
    return layers;
  }

  bool has_random_key(const Device& device) const {
    return std::ranges::any_of(graph_.crypttab, [&](const CrypttabEntry& entry) {
      return entry.name == device.dm_name &&
             (entry.key == "/dev/urandom" || entry.key == "/dev/random");
    });
  }

  Layers named(const std::string& name, const Device& device) {
    if (const auto lower = graph_.find(name)) return data_of(*lower);
    return of_kind(Protection::unknown, fmt::format("{}: it lies on {}, which was not found",
                                                    name_of(device), escaped(name)));
  }

  const DeviceGraph& graph_;
  std::set<DeviceIndex> entered_;
};

}  // namespace

Layers layers_of(const DeviceGraph& graph, DeviceIndex at) {
  Walker walker(graph);
  if (!graph[at].luks) return walker.data_of(at);
  Layers layers = walker.luks_of(at);
  // An open volume is as good as the table that the kernel uses, whatever the header says.
  for (const DeviceIndex above : opened_volumes(graph, at)) join(layers, walker.data_of(above));
  return layers;
}

}  // namespace volseal
