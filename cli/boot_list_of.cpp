#include "cli/crypttab_source.h"
#include "cli/next_boot.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"
#include "tpm/sealed_group.h"

#include <algorithm>
#include <set>

namespace volseal {

namespace {

using Names = std::set<std::string>;

// The mappings that the file system mounted at `target` lies on: by what is mounted, or where that
// tells nothing (a chroot, an installer), by fstab.
Names mappings_below(const DeviceGraph& graph, const std::string& target) {
  Names names;
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    if (std::ranges::find(graph[at].mounts, target) == graph[at].mounts.end()) continue;
    for (const DeviceIndex below : graph.closure_below(at)) {
      if (!graph[below].dm_name.empty()) names.insert(graph[below].dm_name);
    }
  }
  if (!names.empty()) return names;
  constexpr std::string_view mapper = "/dev/mapper/";
  for (const FstabEntry& entry : graph.fstab) {
    if (entry.target == target && entry.source.starts_with(mapper))
      names.insert(entry.source.substr(mapper.size()));
  }
  return names;
}

const Device* device_of(const DeviceGraph& graph, const CrypttabEntry& entry) {
  const auto found = std::ranges::find_if(graph.devices, [&](const Device& device) {
    return device.luks && device.luks->damage.empty() && is_source_of(entry.source, device);
  });
  return found == graph.devices.end() ? nullptr : &*found;
}

// Opened at boot, and by nothing but a passphrase: whoever has a key file or a detached header
// needs no help.
bool is_automatic(const CrypttabEntry& entry) {
  const bool detached =
      entry.options.starts_with("header=") || entry.options.find(",header=") != std::string::npos;
  return !has_option(entry.options, "noauto") && !detached &&
         (entry.key.empty() || entry.key == "none" || entry.key == "-");
}

int latch_of(const Device& device) {
  const auto found = find_group_token(Volume::load(device.path));
  if (!found) throw Error(Code::damaged, "read the token of {}: it is gone", escaped(device.path));
  return tpm::parse_sealed(found->token.sealed).latch;
}

// Whether a FIDO2 key opens it, alone or as one of several parts.
bool takes_fido2(const Device& device) {
  const Volume volume = Volume::load(device.path);
  return !find_fido2_tokens(volume).empty() ||
         std::ranges::any_of(find_all_of_tokens(volume),
                             [](const AllOfToken& token) { return token.fido2.has_value(); });
}

}  // namespace

BootList boot_list_of(const DeviceGraph& graph, const std::vector<CrypttabEntry>& cryptroot) {
  const Names root = mappings_below(graph, "/");
  const Names usr = mappings_below(graph, "/usr");
  BootList list;
  std::set<int> latches;
  bool root_listed = false;
  for (const CrypttabEntry& entry : graph.crypttab) {
    const Device* device = device_of(graph, entry);
    const bool enrolled = device != nullptr && has_group_token(*device);
    BootVolume volume{.mapping = entry.name, .options = entry.options};
    if (root.contains(entry.name)) {
      volume.wanted = Wanted::root;
    } else if (usr.contains(entry.name)) {
      volume.wanted = Wanted::usr;
    } else if (std::ranges::find(cryptroot, entry.name, &CrypttabEntry::name) != cryptroot.end()) {
      volume.wanted = Wanted::boot;
    }
    const bool is_root = volume.wanted == Wanted::root || volume.wanted == Wanted::usr;
    if (enrolled) latches.insert(latch_of(*device));
    // A root that is not enrolled is listed all the same: it does not vouch for the others. What is
    // not there may be enrolled.
    const auto named = uuid_in(entry.source);
    const bool may_be = device == nullptr && named.has_value();
    const bool listed = enrolled || may_be || (is_root && device != nullptr && device->luks);
    if (!listed || !is_automatic(entry)) continue;
    if (device != nullptr && device->luks) {
      volume.luks_uuid = device->luks->uuid;
      if (!device->luks->segments.empty()) volume.cipher = device->luks->segments.front().cipher;
    } else if (named) {
      volume.luks_uuid = *named;
    }
    root_listed = root_listed || volume.wanted == Wanted::root;
    list.fido2 =
        list.fido2 || (is_root && device != nullptr && device->luks && takes_fido2(*device));
    list.volumes.push_back(std::move(volume));
  }
  if (latches.empty()) return {};
  // A latch behind which a plain root lies protects nothing, and would keep late volumes shut.
  if (root_listed) list.latches.assign(latches.begin(), latches.end());
  return list;
}

}  // namespace volseal
