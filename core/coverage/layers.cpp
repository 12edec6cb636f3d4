#include "core/coverage/layers.h"

#include "core/base/escape.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

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
    all.integrity = std::move(one.integrity);
  }
  all.suspended = all.suspended || one.suspended;
}

Layers of_kind(Protection protection, std::string reason) {
  Layers layers;
  layers.protection = protection;
  layers.reasons.push_back(std::move(reason));
  return layers;
}

std::string name_of(const Device& device) {
  return escaped(device.path);
}

// As device-mapper writes it: "aes-xts-plain64", or "capi:xts(aes)-plain64".
bool has_mode(std::string_view cipher, const std::string& mode) {
  return cipher.find("-" + mode) != std::string_view::npos ||
         cipher.find(mode + "(") != std::string_view::npos;
}

// XTS splits its key in two; the strength is that of one half.
std::uint32_t effective_key_bytes(std::string_view cipher, std::uint32_t key_bytes) {
  return has_mode(cipher, "xts") ? key_bytes / 2 : key_bytes;
}

bool has_guessable_iv(std::string_view cipher) {
  return has_mode(cipher, "cbc") && (cipher.ends_with("-plain") || cipher.ends_with("-plain64") ||
                                     cipher.ends_with("-plain64be") || cipher.ends_with("-null"));
}

// A layer that encrypts with that cipher, which is not null.
Layers of_cipher(const std::string& name, const std::string& cipher, std::uint32_t key_bytes,
                 std::uint32_t sector_size) {
  Layers layers;
  layers.cipher = cipher;
  layers.key_bytes = key_bytes;
  layers.sector_size = sector_size;
  if (has_mode(cipher, "ecb")) {
    layers.weaknesses.push_back(fmt::format("{}: ECB shows which blocks are equal", name));
  }
  if (has_guessable_iv(cipher)) {
    layers.weaknesses.push_back(
        fmt::format("{}: {} shows files that were made to be recognised", name, escaped(cipher)));
  }
  if (key_bytes != 0 && effective_key_bytes(cipher, key_bytes) < 16) {
    layers.weaknesses.push_back(fmt::format("{}: a key of {} bits is short", name, key_bytes * 8));
  }
  return layers;
}

std::string null_cipher(const std::string& name) {
  return fmt::format("{}: its cipher is null, the data lies there in clear", name);
}

// While a header says that it is being encrypted or decrypted, a part of it is in clear.
void convert(Layers& layers, const LuksHeader& header, const std::string& name) {
  if (header.reencryption != "encrypt" && header.reencryption != "decrypt") return;
  const double percent = header.data_bytes == 0
                             ? 0
                             : 100.0 * static_cast<double>(header.encrypted_bytes) /
                                   static_cast<double>(header.data_bytes);
  Layers converting =
      of_kind(Protection::converting,
              fmt::format("{}: {} % of it is encrypted{}", name, static_cast<int>(percent),
                          header.reencryption == "decrypt" ? ", and it is being decrypted" : ""));
  converting.percent = percent;
  join(layers, std::move(converting));
}

void note_header(Layers& layers, const LuksHeader& header, const std::string& name) {
  if (header.version == 1)
    layers.weaknesses.push_back(fmt::format("{}: LUKS1 has no place for tokens", name));
  if (!header.damage.empty())
    layers.weaknesses.push_back(fmt::format("{}: {}", name, escaped(header.damage)));
}

// Where the table reads ciphertext is where the header says that it begins. Plain dm-crypt over a
// device that was a LUKS volume once has nothing to do with that header.
bool is_of_header(const LuksHeader& header, const Segment& segment) {
  if (!header.reencryption.empty() || header.segments.empty() || segment.offsets.empty())
    return true;
  return std::ranges::any_of(header.segments, [&](const LuksSegment& one) {
    return one.offset / 512 == segment.offsets[0];
  });
}

}  // namespace

bool encrypts_nothing(std::string_view cipher) {
  return cipher.empty() || cipher == "null" || cipher.starts_with("null-") ||
         cipher.find("cipher_null") != std::string_view::npos;
}

// Old plaintext that encryption has not overwritten yet can be anywhere below a good volume; most
// of what was ever written cannot.
bool is_belied(const std::optional<Sample>& sample) {
  if (!sample) return false;
  return !sample->signature.empty() || sample->clear > (sample->places - sample->empty) / 4;
}

void add_once(std::vector<std::string>& list, std::string text) {
  if (std::ranges::find(list, text) == list.end()) list.push_back(std::move(text));
}

Stacks::Stacks(const DeviceGraph& graph) : graph_(graph) {
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    by_name_.emplace(graph[at].name, at);
    if (const auto container = container_of(graph, at)) opened_[*container].push_back(at);
    for (const Segment& segment : graph[at].table) {
      if ((segment.target == "snapshot" || segment.target == "snapshot-merge") &&
          segment.devices.size() == 2) {
        stores_[segment.devices[0]].push_back(segment.devices[1]);
      }
    }
  }
}

const std::vector<DeviceIndex>& Stacks::opened(DeviceIndex container) const {
  static const std::vector<DeviceIndex> none;
  const auto at = opened_.find(container);
  return at == opened_.end() ? none : at->second;
}

std::vector<std::string> Stacks::stores_of(const std::vector<std::string>& origins) const {
  std::vector<std::string> result;
  for (const std::string& origin : origins) {
    if (const auto stores = stores_.find(origin); stores != stores_.end())
      result.insert(result.end(), stores->second.begin(), stores->second.end());
  }
  return result;
}

Layers Stacks::layers_of(DeviceIndex at) {
  const Device& device = graph_[at];
  if (!device.luks) return data_of(at);
  Layers layers = luks_of(at);
  // An open volume is as good as the table that the kernel uses, whatever the header says.
  for (const DeviceIndex above : opened(at)) join(layers, data_of(above));
  if (device.luks->reencryption.empty() && !device.luks->plaintext.empty()) {
    const std::string sight = fmt::format("{}: {} can be read where its ciphertext should be",
                                          name_of(device), escaped(device.luks->plaintext));
    // A table that encrypts is proof for what is written from now on; a header proves nothing.
    if (opened(at).empty()) join(layers, of_kind(Protection::plain, sight));
    layers.weaknesses.push_back(sight);
  }
  if (layers.protection == Protection::encrypted) return layers;
  // What is wrong with it does no harm where it lies inside something that is encrypted.
  const Layers around = data_of(at);
  return around.protection == Protection::encrypted ? around : layers;
}

// What is written into the LUKS volume whose header lies on `at`.
Layers Stacks::luks_of(DeviceIndex at) const {
  const Device& device = graph_[at];
  const LuksHeader header = device.luks.value_or(LuksHeader{});
  const std::string name = name_of(device);
  Layers layers;
  layers.headers.push_back(at);
  if (header.segments.empty()) {
    join(layers, of_kind(Protection::unknown, fmt::format("{}: its LUKS header cannot be read: {}",
                                                          name, escaped(header.damage))));
    return layers;
  }
  for (const LuksSegment& segment : header.segments) {
    if (segment.type != "crypt") {
      if (!header.reencryption.empty()) continue;
      join(layers, of_kind(Protection::plain,
                           fmt::format("{}: a segment of its LUKS header is not encrypted", name)));
    } else if (encrypts_nothing(segment.cipher)) {
      join(layers, of_kind(Protection::plain, null_cipher(name)));
    } else {
      join(layers, of_cipher(name, segment.cipher, header.key_bytes, segment.sector_size));
      if (layers.integrity.empty()) layers.integrity = segment.integrity;
    }
  }
  convert(layers, header, name);
  note_header(layers, header, name);
  believe(layers, device);
  return layers;
}

// Sectors below it count for more than what its header or its table says.
void Stacks::believe(Layers& layers, const Device& device) const {
  const std::optional<Sample>& sample = device.sample;
  if (!sample || layers.protection == Protection::plain) return;
  if (device.luks && !device.luks->reencryption.empty()) return;
  const std::string name = name_of(device);
  if (is_belied(sample)) {
    join(layers, of_kind(Protection::plain,
                         fmt::format("{}: {} of {} places below it can be read{}{}: it is not "
                                     "encrypted, whatever is said of it",
                                     name, sample->clear, sample->places - sample->empty,
                                     sample->signature.empty() ? "" : ", and show ",
                                     escaped(sample->signature))));
  } else if (sample->clear != 0) {
    layers.weaknesses.push_back(
        fmt::format("{}: {} of {} places below it can be read: old data that was never overwritten",
                    name, sample->clear, sample->places - sample->empty));
  }
}

// What is written to `at`, by whatever is in it or on it.
Layers Stacks::data_of(DeviceIndex at) {
  if (const auto known = known_.find(at); known != known_.end()) return known->second;
  const Device& device = graph_[at];
  // A cycle is no stack that a kernel could have made.
  if (entered_.size() >= deepest || !entered_.insert(at).second) {
    return of_kind(Protection::unknown, fmt::format("{}: the devices form a cycle, or a stack too "
                                                    "high to be true",
                                                    name_of(device)));
  }
  Layers layers = walk(device);
  layers.suspended = layers.suspended || is_suspended(at);
  entered_.erase(at);
  known_.emplace(at, layers);
  return layers;
}

// Below an encrypting layer nobody looks for plaintext, but a mapping may stand still there.
bool Stacks::is_suspended(DeviceIndex at) {
  const Device& device = graph_[at];
  return device.suspended || std::ranges::any_of(device.below, [&](DeviceIndex lower) {
           return entered_.contains(lower) ? false : data_of(lower).suspended;
         });
}

Layers Stacks::walk(const Device& device) {
  switch (device.kind) {
    case DeviceKind::mapped: return mapped(device);
    case DeviceKind::partition: return partition(device);
    case DeviceKind::zram:
      if (!device.backing_device.empty()) return named(device.backing_device, device);
      return in_memory(device);
    case DeviceKind::loop:
      if (!device.backing_device.empty()) return named(device.backing_device, device);
      return of_kind(Protection::unknown,
                     fmt::format("{}: where its file lies is not known", name_of(device)));
    case DeviceKind::network: return remote(device);
    case DeviceKind::disk:
      if (device.bus == "iscsi" || device.bus.starts_with("nvme-")) return remote(device);
      return device.opal.empty() ? below(device) : self_encrypting(device);
    case DeviceKind::md:
    case DeviceKind::optical:
    case DeviceKind::file:
    case DeviceKind::other: return below(device);
  }
  return below(device);
}

// tmpfs and zram, of which the kernel may swap out what it likes.
Layers Stacks::in_memory(const Device& device) {
  Layers all = of_kind(Protection::ephemeral, "its memory is gone with the power");
  for (const DeviceIndex lower : device.below) join(all, data_of(lower));
  if (all.protection > Protection::ephemeral)
    all.reasons[0] = fmt::format("{} is in memory, which is swapped out", name_of(device));
  return all;
}

// What is at the other end cannot be seen; DRBD's leg on this machine can.
Layers Stacks::remote(const Device& device) {
  Layers all = of_kind(Protection::unknown,
                       fmt::format("{}: what is at the other end is not known", name_of(device)));
  for (const DeviceIndex lower : device.below) join(all, data_of(lower));
  return all;
}

// A drive that locks itself when the power goes; nothing here can look into its firmware.
Layers Stacks::self_encrypting(const Device& device) {
  const std::string name = name_of(device);
  if (device.opal == "off") {
    Layers layers = below(device);
    layers.reasons.push_back(fmt::format("{}: its own encryption (Opal) is not locked", name));
    return layers;
  }
  if (device.opal != "locked" && device.opal != "unlocked") {
    return of_kind(
        Protection::unknown,
        fmt::format("{}: whether its own encryption (Opal) is locked is not known", name));
  }
  Layers layers;
  layers.cipher = "opal";
  layers.weaknesses.push_back(fmt::format(
      "{}: only the drive's own encryption (Opal); which ranges it locks, and how well, cannot be "
      "checked",
      name));
  return layers;
}

// Everything it is made of; a disk is made of nothing and keeps what it is given.
Layers Stacks::below(const Device& device) {
  if (device.below.empty())
    return of_kind(Protection::plain, fmt::format("{} is not encrypted", name_of(device)));
  Layers all;
  for (const DeviceIndex lower : device.below) join(all, data_of(lower));
  return all;
}

// The partition is what a person would encrypt, so it is what is named.
Layers Stacks::partition(const Device& device) {
  if (device.below.size() == 1 && graph_[device.below[0]].below.empty()) {
    Layers layers = data_of(device.below[0]);
    if (layers.protection != Protection::plain) return layers;
    return of_kind(Protection::plain, fmt::format("{} is not encrypted", name_of(device)));
  }
  return below(device);
}

Layers Stacks::mapped(const Device& device) {
  // Without a table there is only the kernel's word of what is below: no layer is credited.
  if (device.table.empty()) {
    Layers layers = below(device);
    join(layers, of_kind(Protection::unknown,
                         fmt::format("{}: its table could not be read", name_of(device))));
    return layers;
  }
  Layers all;
  for (const Segment& segment : device.table) join(all, of_segment(device, segment));
  return all;
}

Layers Stacks::of_segment(const Device& device, const Segment& segment) {
  // Nothing is stored there.
  if (segment.target == "zero" || segment.target == "error") return {};
  if (segment.target == "crypt") return crypt(device, segment);
  if (segment.target == "zfs") return zfs(device, segment);
  if (segment.devices.empty()) return below(device);
  if (segment.target == "snapshot-origin") return with_snapshots(device, segment);
  // A linear segment of a volume that is being encrypted is a part that is still in clear.
  if (segment.target == "linear" && segment.devices.size() == 1) {
    const auto lower = find(segment.devices[0]);
    if (lower && is_half_encrypted(graph_[*lower])) return luks_of(*lower);
  }
  return all_of(device, segment);
}

Layers Stacks::all_of(const Device& device, const Segment& segment) {
  Layers all;
  for (const std::string& name : segment.devices) join(all, named(name, device));
  return all;
}

// What is overwritten on the origin of a snapshot is copied to the snapshot's store first.
Layers Stacks::with_snapshots(const Device& device, const Segment& segment) {
  Layers all = all_of(device, segment);
  for (const std::string& store : stores_of(segment.devices)) join(all, named(store, device));
  return all;
}

// "aes-256-gcm": algorithm, bits, mode.
Layers Stacks::zfs(const Device& device, const Segment& segment) {
  if (segment.devices.empty())
    return of_kind(Protection::unknown,
                   fmt::format("{}: the devices of its pool were not found", name_of(device)));
  if (segment.cipher.empty()) return all_of(device, segment);
  Layers layers;
  layers.cipher = segment.cipher;
  for (const std::uint32_t bits : {128U, 192U, 256U}) {
    if (segment.cipher.find(fmt::format("-{}-", bits)) != std::string::npos)
      layers.key_bytes = bits / 8;
  }
  layers.integrity = "aead";
  // Inside something that is encrypted its names are, too.
  if (all_of(device, segment).protection != Protection::encrypted) {
    layers.weaknesses.push_back(fmt::format(
        "{}: ZFS leaves names of datasets, sizes and the pool's layout in clear", name_of(device)));
  }
  return layers;
}

Layers Stacks::crypt(const Device& device, const Segment& segment) {
  if (encrypts_nothing(segment.cipher)) {
    Layers layers = all_of(device, segment);
    if (layers.protection != Protection::encrypted)
      layers.reasons.insert(layers.reasons.begin(), null_cipher(name_of(device)));
    return layers;
  }
  Layers layers =
      of_cipher(name_of(device), segment.cipher, segment.key_bytes, segment.sector_size);
  layers.integrity = segment.integrity;
  believe(layers, device);
  if (const auto at = header_of(device, segment)) {
    const LuksHeader header = graph_[*at].luks.value_or(LuksHeader{});
    layers.headers.push_back(*at);
    convert(layers, header, name_of(graph_[*at]));
    note_header(layers, header, name_of(graph_[*at]));
    return layers;
  }
  // No header: plain dm-crypt, or a detached one.
  if (has_random_key(device)) {
    join(layers, of_kind(Protection::ephemeral, "its random key is gone with the power"));
  } else {
    layers.weaknesses.push_back(fmt::format(
        "{}: plain dm-crypt or a detached header; no way to recover it is known", name_of(device)));
  }
  return layers;
}

std::optional<DeviceIndex> Stacks::header_of(const Device& device, const Segment& segment) const {
  const auto lower = segment.devices.empty() ? std::nullopt : find(segment.devices[0]);
  if (!lower) return std::nullopt;
  if (const auto& header = graph_[*lower].luks) {
    return is_of_header(*header, segment) ? lower : std::nullopt;
  }
  const auto self = find(device.name);
  return self ? container_of(graph_, *self) : std::nullopt;
}

bool Stacks::has_random_key(const Device& device) const {
  return std::ranges::any_of(graph_.crypttab, [&](const CrypttabEntry& entry) {
    return entry.name == device.dm_name &&
           (entry.key == "/dev/urandom" || entry.key == "/dev/random");
  });
}

std::optional<DeviceIndex> Stacks::find(const std::string& kernel_name) const {
  const auto at = by_name_.find(kernel_name);
  return at == by_name_.end() ? std::nullopt : std::optional(at->second);
}

Layers Stacks::named(const std::string& name, const Device& device) {
  if (const auto lower = find(name)) return data_of(*lower);
  return of_kind(Protection::unknown, fmt::format("{}: it lies on {}, which was not found",
                                                  name_of(device), escaped(name)));
}

}  // namespace volseal
