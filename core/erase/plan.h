// Graph and headers → what erasing a volume, or all volumes of a group, would destroy, and what is
// in its way. Pure; erasure.h carries it out.
#pragma once

#include "core/device/device.h"
#include "core/erase/overwrite.h"
#include "core/luks/header.h"
#include "core/plan/plan.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

// A disk that the volume lies on, as people find it in a rack.
struct ErasedDisk {
  std::string path, vendor, model, serial, wwn, bus;
  bool rotational = false;
};

// What opens the volume, or says how, and is not on it.
struct Leftover {
  std::string what;     // "header backup", "escrow of the recovery key", "the same header" ...
  std::string where;    // a path, "with the keepers of the certificates" ...
  std::string holders;  // who can use it; "" where that is anybody who has it
  std::string remove;   // the command that removes it; "" where there is none here
  bool header = false;  // it has the header: with one of the old keys it opens the data
  bool ours = false;    // a file of this machine that --header-backups destroys
};

struct ErasedVolume {
  std::string path;                // as Device::path
  std::string name;                // as Device::name
  std::vector<std::string> links;  // that stay with the device while its content changes
  std::uint64_t size = 0;          // bytes
  std::string header;              // where the header is; another path where it is detached
  std::string luks_uuid, label;
  int version = 2;
  std::string cipher;
  std::uint32_t key_bits = 0;
  std::vector<std::string> ways;      // "keyslot 0: recovery-key" ...
  std::vector<std::string> groups;    // whose secret is one of them
  std::vector<std::string> mappings;  // names that crypttab has for it
  std::vector<ErasedDisk> disks;
  std::vector<ErasedArea> areas;  // of `header`, in the order in which they go
  std::vector<Leftover> left;     // what else there is of it
  std::string seed;               // of the noise; only in the journal
  std::string erased_at;          // RFC 3339; "" before
};

struct ErasureOptions {
  std::vector<std::string> volumes;  // names of devices, of the whole graph
  std::string group;                 // "" for one volume
  std::optional<Path> header;        // of one volume, where it is detached and crypttab has no line
  // core/luks' reader, and the size of what it reads.
  std::function<std::optional<IdentifiedHeader>(const Path&)> identify;
  std::function<std::uint64_t(const Path&)> size_of;
};

struct ErasurePlan {
  std::string target;  // as people name it: the device's path, the group
  std::string group;   // "" for one volume
  std::vector<ErasedVolume> volumes;
  std::vector<Obstacle> obstacles;  // each names its volume
};

// Throws Error{not_found} where no device has that name, Error{not_luks} where there is no LUKS
// header.
ErasurePlan plan_erasure(const DeviceGraph& graph, const ErasureOptions& options);

std::string to_text(const ErasurePlan& plan, std::size_t columns);
std::string to_text(const Leftover& left, std::size_t columns);

}  // namespace volseal
