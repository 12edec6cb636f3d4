// What a power cut has left: the same device again, and the volume as it is by now.
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/human.h"
#include "core/enroll/blank.h"
#include "core/enroll/executor.h"
#include "core/enroll/hot_zone.h"
#include "core/luks/encryption.h"
#include "core/unlock/unlocker.h"

#include <algorithm>

namespace volseal {

namespace {

// lvm(8): extents of up to 4 GiB are in use.
constexpr std::uint64_t largest_extension = 4ULL << 30U;

constexpr std::string_view luks_type = "crypto_LUKS";

// The phases in which the volume's old superblock is away, or may be.
bool may_be_masked(Phase phase) {
  return phase == Phase::masking || phase == Phase::merging || phase == Phase::installing;
}

std::string_view called(const std::string& content_type) {
  return content_type.empty() ? "blank" : std::string_view(content_type);
}

}  // namespace

void Executor::resume(JournalEntry entry) {
  const DeviceGraph graph = world_.scan();
  const Path device = find_again(entry, graph);
  world_.record(entry.plan, entry.luks_uuid, "enroll.resume", "started");
  const auto at = graph.find(device.native());
  if (stays_in_use(entry)) {
    carry_on(std::move(entry), device);
    return;
  }
  // Since the cut it may have been mounted again, or, half-encrypted, opened at boot.
  if (at) {
    const bool open = is_mapping_of(entry.plan.mapping, entry.luks_uuid);
    const auto used = open ? graph.find("/dev/mapper/" + entry.plan.mapping) : at;
    VolumePlan held = entry.plan;
    held.mounts.clear();
    held.swap_active = false;
    if (used) {
      held.path = graph[*used].path;
      held.mounts = graph[*used].mounts;
      held.swap_active = graph[*used].swap_active;
    }
    release(held);
    if (open) {
      deactivate(entry.plan.mapping);
      remove_hot_zone(entry.plan.mapping);
    }
    if (!held.mounts.empty()) entry.plan.mounts = held.mounts;
  }
  require_unclaimed(device);
  if (at) take_as_it_is(entry, graph[*at]);
  carry_on(std::move(entry), device);
}

// With the header on it, and opened since, it goes on as it is.
bool Executor::stays_in_use(const JournalEntry& entry) const {
  const bool in_place =
      entry.plan.task == Task::encrypt_in_place || entry.plan.task == Task::resume;
  if (!settings_.online || !in_place || entry.phase < Phase::tables) return false;
  const std::string& mapping = entry.plan.mapping;
  if (!is_mapping_of(mapping, entry.luks_uuid)) return false;
  if (!has_hot_zone(mapping)) return true;
  give_up_hot_zone(mapping);
  return false;
}

// Between the cut and now the machine may have been up, with the volume in use as ever: what was
// prepared of its content (the snapshot, the copy of its head, where its file system ends) is then
// of yesterday, and writing that would destroy what has come since.
void Executor::take_as_it_is(JournalEntry& entry, const Device& now) {
  if (entry.phase > Phase::installing) return;
  const Path device = now.path;
  const std::string& type = now.content.type;
  const bool masked = may_be_masked(entry.phase) && (type.empty() || type == luks_type);
  if (entry.plan.task == Task::convert) {
    if (now.luks && now.luks->version == 1) require_copied(entry, device);
  } else if (!masked && type != entry.plan.content_type) {
    throw Error(Code::unsafe, "go on with {}: it was {} and is {} now; to plan it anew, remove {}",
                device.native(), called(entry.plan.content_type), called(type),
                journal_.file(entry.id).native());
  } else if (entry.plan.task == Task::format && entry.phase == Phase::prepared) {
    require_blank(device, policy_.blank_check);
  } else if (entry.plan.task == Task::encrypt_in_place && !masked) {
    take_file_system(entry, now.content.size, device);
  }
}

// JournalEntry::replaced of a phase. Whoever mounts an ext file system to write changes its
// superblock; of what is copied, all counts.
std::string Executor::replaced_by(Task task, Phase phase, const Path& device) {
  const std::uint64_t size = phase == Phase::masking      ? superblock_bytes
                             : phase == Phase::installing ? header_bytes
                                                          : 0;
  if (size == 0 || task != Task::encrypt_in_place) return "";
  return sha256_hex(read_head(device, size));
}

// Of an encryption in place whose file system is whole.
void Executor::take_file_system(JournalEntry& entry, std::uint64_t size, const Path& device) {
  if (entry.plan.room == Room::extend) {
    // What it has been given has no other way to be known as free.
    if (size > entry.plan.size) {
      throw Error(Code::unsafe,
                  "go on with {}: its file system has grown; to plan it anew, remove {}",
                  device.native(), journal_.file(entry.id).native());
    }
  } else {
    require_room(entry.plan, device);
  }
  const std::string replaced = replaced_by(entry.plan.task, entry.phase, device);
  if (!replaced.empty() && replaced == entry.replaced) return;
  const std::uint64_t left = entry.shrunk != 0 ? entry.shrunk : entry.plan.content_size;
  if (entry.plan.room != Room::shrink || (left != 0 && size == left)) {
    // It ends where it ended; its head is copied again.
    if (entry.phase == Phase::installing) advance(entry, Phase::moving);
    if (entry.phase == Phase::masking || entry.phase == Phase::merging)
      advance(entry, Phase::wiping);
    return;
  }
  entry.plan.content_size = size;
  entry.shrunk = entry.moved = entry.window = 0;
  choose_extent(entry, device);
  if (entry.phase > Phase::shrinking) advance(entry, Phase::shrinking);
}

// The copy that became LUKS2 is to replace what it was made of, not a keyslot that is newer.
void Executor::require_copied(const JournalEntry& entry, const Path& device) const {
  const std::string copy = read_file(luks1_backup(entry.luks_uuid));
  if (read_head(device, copy.size()) != copy) {
    throw Error(Code::unsafe,
                "go on with {}: its LUKS1 header is another than the one that was converted; to "
                "plan it anew, remove {}",
                device.native(), journal_.file(entry.id).native());
  }
}

Path Executor::find_again(const JournalEntry& entry, const DeviceGraph& graph) const {
  const auto same_size = [&](const Device& device) {
    // Volume groups give whole extents.
    const bool extended = entry.plan.room == Room::extend && device.size > entry.plan.size &&
                          device.size - entry.plan.size <= largest_extension;
    return device.size == entry.plan.size || extended;
  };
  for (const Device& device : graph.devices) {
    if (device.luks && device.luks->uuid == entry.luks_uuid && same_size(device))
      return device.path;
  }
  // Before and while the header is written there is no LUKS UUID to go by.
  const auto linked = [&](const Device& device) {
    return std::ranges::any_of(entry.links, [&](const std::string& link) {
      return std::ranges::find(device.links, link) != device.links.end();
    });
  };
  for (const Device& device : graph.devices) {
    if (!same_size(device)) continue;
    if (entry.links.empty() ? device.name == entry.plan.name : linked(device)) return device.path;
  }
  throw Error(Code::not_found, "go on with {}: no device of {} bears one of its names (journal {})",
              entry.plan.path, human_size(entry.plan.size), journal_.file(entry.id).native());
}

}  // namespace volseal
