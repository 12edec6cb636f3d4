// What stands between a device's data and the disks: walked segment by segment, judged by the
// worst.
#pragma once

#include "core/device/device.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace volseal {

// From best to worst.
enum class Protection {
  encrypted,
  ephemeral,   // gone with the power: random-key swap, zram, tmpfs
  converting,  // a part of it is still in clear
  unknown,
  plain,
};

struct Layers {
  Protection protection = Protection::encrypted;
  std::vector<std::string> reasons;     // why it is not plainly encrypted; one sentence each
  std::vector<std::string> weaknesses;  // encrypted, but
  std::vector<DeviceIndex> headers;     // LUKS volumes that encrypt, each once
  std::string cipher;  // of the first encrypting layer, as in a device-mapper table
  std::uint32_t key_bytes = 0;
  std::uint32_t sector_size = 0;
  std::string integrity;
  bool suspended = false;  // a mapping on the way is: nothing can be read or written
  double percent = 100;    // converting: how much is encrypted
};

// A LUKS volume of which a part is in clear, as its header says.
bool is_half_encrypted(const Device& device);

// The LUKS volume that this mapping is the open side of: dm-crypt over it, with dm-integrity in
// between or not; while it is being encrypted or decrypted, whatever device-mapper makes of it.
std::optional<DeviceIndex> container_of(const DeviceGraph& graph, DeviceIndex mapping);

// "", "null", "cipher_null-ecb": a layer of that cipher leaves plaintext.
bool encrypts_nothing(std::string_view cipher);

// What was read below it contradicts whatever says that it is encrypted.
bool is_belied(const std::optional<Sample>& sample);

// Appends `text` unless it is there.
void add_once(std::vector<std::string>& list, std::string text);

// A graph, with what walking it needs at hand: one for all volumes of a graph.
class Stacks {
 public:
  explicit Stacks(const DeviceGraph& graph);

  // For what is written to the device itself: below a LUKS header, that is what the header and,
  // where it is open, the kernel's table say.
  Layers layers_of(DeviceIndex at);

  // The mappings that are the open side of the LUKS volume `container`.
  const std::vector<DeviceIndex>& opened(DeviceIndex container) const;

  // Where snapshots of these keep what is overwritten on them; kernel names.
  std::vector<std::string> stores_of(const std::vector<std::string>& origins) const;

 private:
  // No machine stacks as many devices on each other; a saved graph may say anything.
  static constexpr std::size_t deepest = 128;

  Layers data_of(DeviceIndex at);
  Layers walk(const Device& device);
  Layers below(const Device& device);
  Layers in_memory(const Device& device);
  Layers remote(const Device& device);
  Layers self_encrypting(const Device& device);
  Layers partition(const Device& device);
  Layers mapped(const Device& device);
  void believe(Layers& layers, const Device& device) const;
  Layers of_segment(const Device& device, const Segment& segment);
  Layers crypt(const Device& device, const Segment& segment);
  Layers all_of(const Device& device, const Segment& segment);
  Layers with_snapshots(const Device& device, const Segment& segment);
  Layers zfs(const Device& device, const Segment& segment);
  bool is_suspended(DeviceIndex at);
  Layers named(const std::string& name, const Device& device);
  Layers luks_of(DeviceIndex at) const;
  std::optional<DeviceIndex> header_of(const Device& device, const Segment& segment) const;
  std::optional<DeviceIndex> find(const std::string& kernel_name) const;
  bool has_random_key(const Device& device) const;

  const DeviceGraph& graph_;
  std::unordered_map<std::string, DeviceIndex> by_name_;
  std::map<DeviceIndex, std::vector<DeviceIndex>> opened_;
  // Where snapshots of a device keep what is overwritten on it, by its kernel name.
  std::map<std::string, std::vector<std::string>> stores_;
  std::map<DeviceIndex, Layers> known_;
  std::set<DeviceIndex> entered_;
};

}  // namespace volseal
