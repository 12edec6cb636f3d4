// Where the device is, and how it is taken out of use and put back.
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/decrypt/decryption.h"
#include "core/decrypt/tail.h"
#include "core/luks/header.h"
#include "core/unlock/boot_list.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

void attempt(const std::vector<std::string>& argv) {
  if (const ProcessResult result = run(argv); result.status != 0) {
    log::warning("{} failed with status {}; do it by hand, or restart", fmt::join(argv, " "),
                 result.status);
  }
}

void use(const DecryptionPlan& plan, const Path& device) {
  if (plan.swap_active) attempt({"swapon", device.native()});
  std::vector<std::string> mounts = plan.mounts;
  std::ranges::sort(mounts, {}, &std::string::size);
  for (const std::string& mount : mounts) {
    if (run({"mountpoint", "-q", mount}).status == 0) continue;
    // As fstab wants it, with its options; where it says nothing, plainly.
    if (run({"findmnt", "--fstab", "--mountpoint", mount}).status == 0) {
      attempt({"mount", mount});
    } else {
      attempt({"mount", device.native(), mount});
    }
  }
}

bool has_header_of(const Path& device, const std::string& uuid) {
  const auto header = read_header(device);
  return header && header->uuid == uuid;
}

// It is the volume that was begun, by what is on no other one: a device that only is called alike
// is left alone. `named`: it has a name that stays with the device, which counts where its data is
// all used up or nothing but zeros.
bool is_it(const DecryptionEntry& entry, const Path& device, const Path& header, bool named) {
  const DecryptionPlan& plan = entry.plan;
  const auto at = [&](std::uint64_t offset) { return fingerprint(device, offset, known_bytes); };
  const std::string zeros = fingerprint_of_zeros(known_bytes);
  switch (entry.phase) {
    case DecryptPhase::prepared:
    case DecryptPhase::holding: return has_header_of(device, plan.luks_uuid);
    case DecryptPhase::moving:
      return has_header_of(device, plan.luks_uuid) || at(plan.data_offset) == entry.head;
    case DecryptPhase::decrypting:
      if (at(0) == entry.head) return true;
      if (!InPlaceDecryption::is_at_last_piece(header)) return false;
      return named || (entry.middle != zeros && at(plan.data_offset) == entry.middle);
    case DecryptPhase::wiping:
      // Zeros all the way: wiped, and only the journal does not know yet.
      return at(plan.size - known_bytes) == entry.tail ||
             is_zero_from(device, plan.size - plan.data_offset);
    case DecryptPhase::tables:
    case DecryptPhase::forgetting:
      return named || is_zero_from(device, plan.size - plan.data_offset);
  }
  return false;
}

}  // namespace

Path Decryption::find_again(const DecryptionEntry& entry, const DeviceGraph& graph) const {
  const DecryptionPlan& plan = entry.plan;
  const auto named = [&](const Device& device) {
    return std::ranges::any_of(plan.links, [&](const std::string& link) {
      return std::ranges::find(device.links, link) != device.links.end();
    });
  };
  for (const Device& device : graph.devices) {
    if (device.size != plan.size) continue;
    const bool candidate = named(device) || (plan.links.empty() && device.name == plan.name) ||
                           (device.luks && device.luks->uuid == plan.luks_uuid);
    // An image file is named by its path.
    const bool lasting = named(device) || device.kind == DeviceKind::file;
    if (candidate && is_it(entry, device.path, journal_.working_header(entry.id), lasting))
      return device.path;
  }
  throw Error(Code::not_found,
              "go on with {}: no device of {} is surely the one that was begun (journal {})",
              plan.path, human_size(plan.size),
              (journal_.folder() / (entry.id + ".json")).native());
}

// The plan, with the use that it is in now.
DecryptionPlan Decryption::use_now(const DecryptionEntry& entry, const Path& device,
                                   const DeviceGraph& graph) const {
  DecryptionPlan now = entry.plan;
  now.path = device.native();
  now.open_as.clear();
  now.mounts.clear();
  now.swap_active = false;
  const auto at = graph.find(device.native());
  if (!at) return now;
  DeviceIndex used = *at;
  if (const auto above = graph.above(*at); !above.empty()) {
    used = above.front();
    if (above.size() > 1 || !graph.above(used).empty() ||
        !is_mapping_of(graph[used].dm_name, entry.plan.luks_uuid)) {
      throw Error(Code::busy, "go on with {}: {} stands on it", now.path,
                  escaped(graph[used].path));
    }
    now.open_as = graph[used].dm_name;
  }
  now.mounts = graph[used].mounts;
  now.swap_active = graph[used].swap_active;
  return now;
}

Path Decryption::resume(DecryptionEntry entry) {
  const DeviceGraph graph = world_.scan();
  const Path device = find_again(entry, graph);
  world_.record(entry.plan, "decrypt.resume", "started");
  const DecryptionPlan now = use_now(entry, device, graph);
  release(now);
  entry.plan.path = device.native();
  if (!now.mounts.empty()) entry.plan.mounts = now.mounts;
  return carry_on(std::move(entry), device);
}

// Takes the volume out of use, where the person allowed it.
void Decryption::release(const DecryptionPlan& plan) const {
  const Path used = plan.open_as.empty() ? Path(plan.path) : Path("/dev/mapper") / plan.open_as;
  if (!settings_.unmount && (!plan.mounts.empty() || plan.swap_active)) {
    throw Error(Code::busy, "decrypt {}: it is {}", plan.path,
                plan.swap_active ? "active swap" : "mounted at " + plan.mounts.front());
  }
  if (plan.swap_active) run_or_throw({"swapoff", used.native()});
  std::vector<std::string> mounts = plan.mounts;
  std::ranges::sort(mounts, std::ranges::greater{}, &std::string::size);
  for (const std::string& mount : mounts) run_or_throw({"umount", mount});
  if (!plan.open_as.empty()) deactivate(plan.open_as);
}

// As it was before release(), still encrypted. A failure is said and no more: the data is safe.
void Decryption::reopen(const DecryptionPlan& plan, const Path& device,
                        const Secret& secret) const {
  if (plan.open_as.empty()) return;
  try {
    if (!is_mapping_of(plan.open_as, plan.luks_uuid)) {
      Volume volume = Volume::load(device);
      volume.activate(plan.open_as, secret,
                      activate_options(plan.crypttab ? plan.crypttab->options : ""));
    }
    use(plan, Path("/dev/mapper") / plan.open_as);
  } catch (const Error& error) {
    log::warning("{} stays closed: {}", escaped(plan.path), escaped(error.what()));
  }
}

void Decryption::put_back(const DecryptionPlan& plan, const Path& device) const {
  if (is_block_device(device)) use(plan, device);
}

}  // namespace volseal
