#include "core/enroll/executor.h"

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/enroll/blank.h"
#include "core/enroll/crew.h"
#include "core/enroll/filesystem.h"
#include "core/enroll/hot_zone.h"
#include "core/luks/backup.h"
#include "core/luks/encryption.h"
#include "core/protect/recovery_key.h"
#include "core/tables/tables.h"
#include "core/unlock/boot_list.h"
#include "core/unlock/unlocker.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <span>
#include <utility>

namespace volseal {

namespace {

constexpr std::array in_place_phases = {Phase::prepared,   Phase::extending,  Phase::shrinking,
                                        Phase::masking,    Phase::merging,    Phase::wiping,
                                        Phase::moving,     Phase::installing, Phase::tables,
                                        Phase::encrypting, Phase::growing,    Phase::binding};
constexpr std::array fresh_phases = {Phase::prepared, Phase::installing, Phase::filling,
                                     Phase::tables, Phase::binding};

constexpr std::array convert_phases = {Phase::prepared, Phase::installing, Phase::tables,
                                       Phase::binding};
constexpr std::array adopt_phases = {Phase::tables, Phase::binding};

std::span<const Phase> phases_of(Task task) {
  switch (task) {
    case Task::encrypt_in_place:
    case Task::resume: return in_place_phases;
    case Task::format:
    case Task::encrypt_swap: return fresh_phases;
    case Task::convert: return convert_phases;
    case Task::adopt: return adopt_phases;
    case Task::nothing:
    case Task::leave:
    case Task::forbid:
    case Task::refuse: break;
  }
  throw Error(Code::internal, "enroll: '{}' is nothing to carry out", to_string(task));
}

// Where the file system of an encryption in place must end, bytes: 4 KiB blocks, 32 MiB below the
// end.
std::uint64_t shrunk_size(std::uint64_t device_size) {
  return (device_size - in_place_bytes) / 4096 * 4096;
}

// A file system may leave this much of its device, bytes: not a whole block.
constexpr std::uint64_t rounding = 64ULL << 10U;

// What the volume group of a logical volume has to give, bytes.
std::uint64_t free_in_group(const Path& volume) {
  const std::string text = run_or_throw({"lvs", "--noheadings", "--units", "b", "--nosuffix", "-o",
                                         "vg_free", volume.native()})
                               .output;
  std::uint64_t bytes = 0;
  const auto begin = text.find_first_of("0123456789");
  if (begin == std::string::npos ||
      std::from_chars(text.data() + begin, text.data() + text.size(), bytes).ec != std::errc{}) {
    throw Error(Code::program_failed, "ask lvs for the free space of {}'s group: it says '{}'",
                volume.native(), escaped(text));
  }
  return bytes;
}

// The device zeroes ranges at next to no cost (Documentation/ABI/stable/sysfs-block,
// queue/write_zeroes_max_bytes).
bool zeroes_quickly(const Path& device) {
  struct stat status{};
  if (::stat(device.c_str(), &status) != 0) return false;
  const Path node =
      fmt::format("/sys/dev/block/{}:{}", major(status.st_rdev), minor(status.st_rdev));
  for (const char* queue : {"queue", "../queue"}) {
    const auto text = read_file_if_any(node / queue / "write_zeroes_max_bytes");
    if (text) return !text->starts_with("0");
  }
  return false;
}

// For what is moved on its way through a snapshot's store.
std::uint64_t free_at(const Path& folder) {
  struct statvfs status{};
  if (::statvfs(folder.c_str(), &status) != 0) return 0;
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

void copy_durably(const Path& from, const Path& to) {
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  sync_fd(open_file(to, O_RDONLY).get(), to.native());
  sync_folder(to.parent_path());
}

}  // namespace

Executor::Executor(const Policy& policy, EnrollSettings settings, EnrollWorld world)
    : policy_(policy),
      settings_(std::move(settings)),
      world_(std::move(world)),
      journal_(settings_.state) {}

void Executor::say(const JournalEntry& entry, const std::string& step) const {
  if (world_.on_step) world_.on_step(entry.plan, step);
}

bool Executor::uses_tpm(const VolumePlan& plan) const {
  return policy_.group(plan.group).tpm.enabled;
}

void Executor::advance(JournalEntry& entry, Phase phase) {
  entry.phase = phase;
  journal_.write(entry);
}

void Executor::enroll(const VolumePlan& plan) {
  const DeviceGraph graph = world_.scan();
  if (const std::string changed = what_changed(plan, graph); !changed.empty()) {
    throw Error(Code::unsafe, "enroll {}: {}", plan.path, changed);
  }
  const auto at = graph.find(plan.path);
  if (!at) throw Error(Code::not_found, "enroll {}: it is gone", plan.path);
  const Path device = plan.path;
  world_.record(plan, plan.luks_uuid, "enroll.start", "started");
  if (plan.task == Task::resume) {
    // Our own encryption in place, but its journal is lost: the header has all that matters.
    JournalEntry entry{
        .id = to_hex(Secret::random(8).bytes()), .plan = plan, .phase = Phase::tables};
    entry.links = lasting_links(graph[*at]);
    entry.luks_uuid = plan.luks_uuid;
    entry.started_at = utc_now();
    journal_.write(entry);
    resume(std::move(entry));
    return;
  }
  if (plan.task == Task::adopt) {
    adopt(plan, device, lasting_links(graph[*at]));
    return;
  }
  release(plan);
  std::optional<JournalEntry> entry;
  try {
    require_unclaimed(device);
    preflight(plan, device);
    entry = plan.task == Task::convert ? convert(plan, device, lasting_links(graph[*at]))
                                       : prepare(plan, device, lasting_links(graph[*at]));
  } catch (...) {
    // Nothing has begun: everything goes back to where it was.
    journal_.remove_strays();
    if (settings_.unmount) use(plan, device);
    throw;
  }
  carry_on(std::move(*entry), device);
}

// Takes the volume out of use, where the person allowed it.
void Executor::release(const VolumePlan& plan) {
  if (plan.mounts.empty() && !plan.swap_active) return;
  if (plan.task == Task::convert) {
    throw Error(Code::busy, "convert {}: it is open; unmount and close it first", plan.path);
  }
  if (!settings_.unmount) {
    throw Error(Code::busy, "enroll {}: it is {}", plan.path,
                plan.swap_active ? "active swap" : "mounted at " + plan.mounts.front());
  }
  if (plan.swap_active) run_or_throw({"swapoff", plan.path});
  std::vector<std::string> mounts = plan.mounts;
  std::ranges::sort(mounts, std::ranges::greater{}, &std::string::size);
  for (const std::string& mount : mounts) run_or_throw({"umount", mount});
}

// Puts the volume into use. Its data is safe whatever happens here, so a failure is said and no
// more.
void Executor::use(const VolumePlan& plan, const Path& device) {
  const auto attempt = [](const std::vector<std::string>& argv) {
    if (const ProcessResult result = run(argv); result.status != 0) {
      log::warning("{} failed with status {}; do it by hand, or restart", fmt::join(argv, " "),
                   result.status);
    }
  };
  if (plan.swap_active) attempt({"swapon", device.native()});
  std::vector<std::string> mounts = plan.mounts;
  std::ranges::sort(mounts, {}, &std::string::size);
  for (const std::string& mount : mounts) {
    // An encryption that went on while the volume was in use has left it there.
    if (run({"mountpoint", "-q", mount}).status == 0) continue;
    // With both given, mount(8) would not take the options of its line.
    const bool has_line = run({"findmnt", "--fstab", "--evaluate", "--source", device.native(),
                               "--mountpoint", mount})
                              .status == 0;
    attempt(has_line ? std::vector<std::string>{"mount", mount}
                     : std::vector<std::string>{"mount", device.native(), mount});
  }
}

// What can go wrong is found before a key is handed to anybody.
void Executor::preflight(const VolumePlan& plan, const Path& device) {
  if (const std::uint64_t size = size_of(device); size != plan.size) {
    throw Error(Code::unsafe, "enroll {}: it has {} bytes, the plan says {}", plan.path, size,
                plan.size);
  }
  if (uses_tpm(plan)) world_.group(plan.group);
  if (plan.task == Task::encrypt_in_place) {
    require_room(plan, device);
  } else if (plan.task == Task::format) {
    require_blank(device, policy_.blank_check);
  }
}

void Executor::require_room(const VolumePlan& plan, const Path& device) {
  switch (plan.room) {
    case Room::shrink:
      require_sound_ext(device);
      require_ext_fits(device, shrunk_size(plan.size));
      if (const std::uint64_t end = plan.content_size; end != 0 && end + rounding < plan.size) {
        // What lies behind the file system may be somebody's; the last 32 MiB are overwritten.
        require_blank_tail(device, std::max(end, plan.size - in_place_bytes));
      }
      return;
    case Room::tail: require_blank_tail(device, plan.size - in_place_bytes); return;
    case Room::extend:
      if (const std::uint64_t bytes = free_in_group(device); bytes < in_place_bytes) {
        throw Error(Code::cannot_shrink,
                    "make room for the LUKS header on {}: its file system cannot shrink, and its "
                    "volume group has only {} to give",
                    device.native(), human_size(bytes));
      }
      return;
  }
}

// How much of an ext file system's volume is encrypted, and how much is given up before.
void Executor::choose_extent(JournalEntry& entry, const Path& device) const {
  const VolumePlan& plan = entry.plan;
  if (plan.room != Room::shrink) return;
  entry.shrunk = shrunk_size(plan.size);
  // resize2fs would let a smaller one grow.
  if (const std::uint64_t end = plan.content_size; end != 0 && end <= entry.shrunk) {
    entry.shrunk = 0;
    return;
  }
  if (!plan.used_only || !is_block_device(device)) return;
  const auto best = cheapest_ext_shrink(device, entry.shrunk, zeroes_quickly(device),
                                        free_at(journal_.folder()) / 2);
  if (!best) return;
  entry.shrunk = best->bytes;
  entry.moved = best->moved;
  entry.window = best->bytes + in_place_bytes;
}

JournalEntry Executor::prepare(const VolumePlan& plan, const Path& device,
                               const std::vector<std::string>& links) {
  JournalEntry entry{.id = to_hex(Secret::random(8).bytes()),
                     .plan = plan,
                     .phase = Phase::prepared,
                     .links = links};
  entry.started_at = utc_now();
  make_folder(journal_.folder());
  if (plan.task == Task::encrypt_in_place) choose_extent(entry, device);
  const Path header = journal_.pristine_header(entry.id);
  // libcryptsetup wants a file that is there, with room for the first block.
  write_file(header, std::string(4096, '\0'));

  Volume volume = Volume::format(header, {.cipher = plan.cipher,
                                          .key_bits = plan.key_bits,
                                          .sector_size = plan.sector_size,
                                          .label = "",
                                          .data_device = device});
  entry.luks_uuid = volume.uuid();

  say(entry, "recovery keyslot");
  Secret recovery = new_recovery_key();
  const int recovery_slot = add_recovery_key(volume, nullptr, recovery);
  if (Volume::load(header).opens_with(recovery) != recovery_slot) {
    throw Error(Code::internal, "prove the recovery key of {}: it does not open", plan.path);
  }
  const auto escrowed = hand_over(plan, entry.luks_uuid, recovery);
  if (escrowed) note_escrow(volume, recovery_slot, *escrowed);
  world_.record(plan, entry.luks_uuid, "recovery-key.hand-over", "ok");

  if (uses_tpm(plan)) {
    say(entry, "TPM keyslot");
    const GroupMaterial material = world_.group(plan.group);
    // While data moves, the binding covers what does not change, and says so.
    const std::string scope = plan.task == Task::encrypt_in_place ? "reencrypt" : "full";
    add_group_protector(volume, &recovery, plan.group, material, scope);
    prove_group_protector(header, *world_.protector);
    world_.record(plan, entry.luks_uuid, "keyslot.add", "ok");
  }
  fresh_recovery_[entry.id] = std::move(recovery);
  sync_fd(open_file(header, O_RDONLY).get(), header.native());
  journal_.write(entry);
  return entry;
}

void Executor::carry_on(JournalEntry entry, const Path& device) {
  const Finally forget([&] { fresh_recovery_.erase(entry.id); });
  const auto phases = phases_of(entry.plan.task);
  const auto first = std::ranges::find(phases, entry.phase);
  if (first == phases.end()) {
    throw Error(Code::damaged,
                "go on with {}: its journal names the phase '{}', which its task does not have",
                entry.plan.path, to_string(entry.phase));
  }
  for (auto phase = first; phase != phases.end(); ++phase) {
    if (is_idle(entry, *phase, device)) continue;
    if (entry.phase != *phase) {
      entry.replaced = replaced_by(entry.plan.task, *phase, device);
      advance(entry, *phase);
    }
    perform(entry, device);
  }
  world_.record(entry.plan, entry.luks_uuid, "enroll.finish", "ok");
  journal_.remove(entry);
  put_back(entry, device);
}

// A phase that has nothing to do for this volume is not worth its journal: two syncs each.
bool Executor::is_idle(const JournalEntry& entry, Phase phase, const Path& device) const {
  switch (phase) {
    case Phase::extending: return entry.plan.room != Room::extend;
    case Phase::shrinking:
    case Phase::masking:
    case Phase::merging: return entry.shrunk == 0;
    // The store may be of an earlier try.
    case Phase::wiping:
      return entry.shrunk == 0 && !std::filesystem::exists(journal_.snapshot_store(entry.id));
    case Phase::growing: return !grows(entry, device);
    case Phase::prepared:
    case Phase::moving:
    case Phase::installing:
    case Phase::tables:
    case Phase::encrypting:
    case Phase::filling:
    case Phase::binding: break;
  }
  return false;
}

// Each case may be entered again after a cut in its middle; its comment says why that is safe.
void Executor::perform(const JournalEntry& entry, const Path& device) {
  const VolumePlan& plan = entry.plan;
  switch (entry.phase) {
    case Phase::prepared: return;
    case Phase::extending:
      if (plan.room == Room::extend) extend(entry, device);
      return;
    case Phase::shrinking:
      if (entry.shrunk == 0) return;
      // The device itself is not written. Again: on a new snapshot.
      say(entry, fmt::format("shrinking the file system to {}", human_size(entry.shrunk)));
      {
        const Interlude interlude(world_.turn);
        shrinking(entry, device).on_snapshot(entry.shrunk, entry.moved);
      }
      return;
    case Phase::masking:
      // What is cleared is in the snapshot's store, so the merge brings it back.
      if (entry.shrunk != 0) shrinking(entry, device).mask();
      return;
    case Phase::merging:
      // device-mapper notes in the store what has been merged, and goes on there.
      if (entry.shrunk != 0) {
        const Interlude interlude(world_.turn);
        shrinking(entry, device).merge();
      }
      return;
    case Phase::wiping:
      // Nothing of the file system is there any more, and the store is merged. Again: from the
      // start.
      shrinking(entry, device).forget();
      if (entry.window != 0) wipe(entry, device);
      return;
    case Phase::moving: {
      // Copies the head to free room at the end; the head stays. Again: from the pristine header.
      say(entry, "moving the first 16 MiB");
      copy_durably(journal_.pristine_header(entry.id), journal_.working_header(entry.id));
      const Volume header = Volume::load(journal_.working_header(entry.id));
      const Secret secret = secret_for(entry, header);
      const auto slot = header.opens_with(secret);
      if (!slot)
        throw Error(Code::wrong_secret, "go on with {}: its header does not open", plan.path);
      const Window head = window(entry, device);
      InPlaceEncryption::begin(journal_.working_header(entry.id), head.path(), secret, *slot,
                               plan.sector_size);
      return;
    }
    case Phase::installing: {
      // What the header overwrites is blank, expendable swap, or has its copy at the end.
      say(entry, "writing the LUKS header");
      // A converted header: what it overwrites is in the file, and in the backup as it was.
      const bool moved = plan.task == Task::encrypt_in_place;
      install_header(moved ? journal_.working_header(entry.id) : journal_.pristine_header(entry.id),
                     device, plan.task != Task::format);
      world_.record(plan, entry.luks_uuid, "header.install", "ok");
      return;
    }
    case Phase::tables:
      if (is_block_device(device)) write_tables(entry);
      return;
    case Phase::encrypting: encrypt(entry, device); return;
    case Phase::growing: grow(entry, device); return;
    case Phase::filling: fill(entry, device); return;
    case Phase::binding: bind(entry, device); return;
  }
}

// While it goes on others may have the turn.
bool Executor::apart(const JournalEntry& entry, const Secret& secret,
                     const std::function<bool(const Secret&, const GoOn&)>& work) const {
  const Interlude interlude(world_.turn);
  return run_apart(secret, work, [&](std::uint64_t done, std::uint64_t total) {
    return world_.progress(entry.plan, done, total);
  });
}

Shrinking Executor::shrinking(const JournalEntry& entry, const Path& device) const {
  return {device, journal_.snapshot_store(entry.id), "volseal-" + entry.id};
}

Window Executor::window(const JournalEntry& entry, const Path& device) {
  return {device, entry.window, "volseal-" + entry.id + "-head"};
}

// Again after a cut: it is that large already.
void Executor::extend(const JournalEntry& entry, const Path& device) const {
  if (size_of(device) >= entry.plan.size + in_place_bytes) return;
  say(entry, "extending the logical volume");
  run_or_throw({"lvextend", "--size", fmt::format("{}b", entry.plan.size + in_place_bytes),
                device.native()});
}

void Executor::wipe(const JournalEntry& entry, const Path& device) const {
  say(entry, "zeroing what is free");
  if (!apart(entry, {}, [&](const Secret&, const GoOn& go_on) {
        return zero_tail(device, entry.window, go_on);
      })) {
    world_.record(entry.plan, entry.luks_uuid, "enroll.pause", "ok");
    throw Error(Code::interrupted, "zero the free end of {}: stopped; its data is safe",
                entry.plan.path);
  }
}

bool Executor::grows(const JournalEntry& entry, const Path& device) {
  const std::string& type = entry.plan.content_type;
  // ext2 has no journal that would keep it whole at a cut.
  return (type == "ext4" || type == "ext3") && entry.shrunk != 0 && is_block_device(device);
}

// Its data is safe however large the file system is, so a failure is said and no more.
void Executor::grow(const JournalEntry& entry, const Path& device) {
  if (!grows(entry, device)) return;
  say(entry, "letting the file system grow");
  map(entry, device);
  const Path mapping = Path("/dev/mapper") / entry.plan.mapping;
  try {
    const Volume volume = Volume::load(device);
    widen_mapping(entry.plan.mapping, device, secret_for(entry, volume));
    grow_ext(mapping);
  } catch (const Error& error) {
    log::warning("{}: its file system stays at {}: {}; 'resize2fs {}' lets it grow",
                 escaped(entry.plan.path), human_size(entry.shrunk), escaped(error.what()),
                 mapping.native());
  }
}

// Escrow first: a person who types the last group back has the key of a volume that goes on.
std::optional<EscrowReceipt> Executor::hand_over(const VolumePlan& plan,
                                                 const std::string& luks_uuid,
                                                 const Secret& key) const {
  std::optional<EscrowReceipt> escrowed;
  if (world_.escrow) escrowed = world_.escrow(plan, luks_uuid, key);
  world_.hand_over(plan, luks_uuid, key);
  return escrowed;
}

// What the header lacks of what the policy asks for. `existing` opens it. Throws with everything
// taken back but what had been proven and acknowledged.
void Executor::add_missing(const VolumePlan& plan, Volume& volume, const Secret& existing) {
  const auto has = [&](std::string_view type) {
    return std::ranges::any_of(volume.tokens(), [&](const VolumeToken& token) {
      // One without a keyslot is what a power cut left: the planner counts it as missing, too.
      const auto json = nlohmann::json::parse(token.json, nullptr, false);
      return token.type == type && json.is_object() && json.contains("keyslots") &&
             !json["keyslots"].empty();
    });
  };
  const JournalEntry entry{.plan = plan, .luks_uuid = volume.uuid()};
  const auto& recovery = policy_.group(plan.group).recovery;
  if (std::ranges::find(recovery, "recovery-key") != recovery.end() && !has("systemd-recovery")) {
    say(entry, "recovery keyslot");
    const Secret key = new_recovery_key();
    // The token comes last: a key that nobody has acknowledged must not look like a way in.
    const int slot = volume.add_keyslot(existing, key, Stretch::none);
    try {
      if (volume.opens_with(key, slot) != slot) {
        throw Error(Code::internal, "prove the recovery key of {}: it does not open", plan.path);
      }
      const auto escrowed = hand_over(plan, entry.luks_uuid, key);
      if (escrowed) note_escrow(volume, slot, *escrowed);
      volume.set_token(recovery_token_json(slot));
      know_keyslot(volume, slot);
    } catch (...) {
      volume.remove_keyslot(slot);
      forget_stale_escrows(volume);
      throw;
    }
    world_.record(plan, entry.luks_uuid, "recovery-key.hand-over", "ok");
  }
  if (uses_tpm(plan) && !has("volseal-tpm2")) {
    say(entry, "TPM keyslot");
    add_group_protector(volume, &existing, plan.group, world_.group(plan.group), "full");
    prove_group_protector(volume.path(), *world_.protector);
    world_.record(plan, entry.luks_uuid, "keyslot.add", "ok");
  }
}

// Each change of the header is whole or absent after a cut, and the volume stays as it is, open or
// not: the plan of the next run names what is missing still.
void Executor::adopt(const VolumePlan& plan, const Path& device,
                     const std::vector<std::string>& links) {
  if (uses_tpm(plan)) world_.group(plan.group);
  Volume volume = Volume::load(device);
  volume.refuse_unsafe();
  JournalEntry entry{.plan = plan, .links = links, .luks_uuid = volume.uuid()};
  const Secret existing = world_.open_with(plan, volume);
  save_header(entry, device);
  add_missing(plan, volume, existing);
  for (const Phase phase : adopt_phases) {
    entry.phase = phase;
    perform(entry, device);
  }
  world_.record(plan, entry.luks_uuid, "enroll.finish", "ok");
}

Path Executor::luks1_backup(const std::string& luks_uuid) const {
  return Path(policy_.header_backups) / (luks_uuid + ".luks1-header");
}

// On a copy of the header; the device is only read.
JournalEntry Executor::convert(const VolumePlan& plan, const Path& device,
                               const std::vector<std::string>& links) {
  JournalEntry entry{.id = to_hex(Secret::random(8).bytes()),
                     .plan = plan,
                     .phase = Phase::prepared,
                     .links = links,
                     .luks_uuid = plan.luks_uuid,
                     .started_at = utc_now()};
  make_folder(journal_.folder());
  const Path header = journal_.pristine_header(entry.id);
  copy_luks1_header(device, header);
  back_up_header(device, luks1_backup(entry.luks_uuid), links);
  say(entry, "converting the header");
  convert_to_luks2(header);
  Volume volume = Volume::load(header);
  volume.refuse_unsafe();
  const Secret existing = world_.open_with(plan, volume);
  add_missing(plan, volume, existing);
  sync_fd(open_file(header, O_RDONLY).get(), header.native());
  journal_.write(entry);
  return entry;
}

Secret Executor::secret_for(const JournalEntry& entry, const Volume& volume) {
  const auto fresh = fresh_recovery_.find(entry.id);
  if (fresh != fresh_recovery_.end()) return fresh->second.clone();
  std::string why = "this volume has no TPM protector";
  if (const auto found = find_group_token(volume)) {
    try {
      return group_passphrase(volume, found->token, world_.group(found->token.group).secret);
    } catch (const Error& error) {
      const bool tpm = error.code() == Code::no_tpm || error.code() == Code::tpm_failed ||
                       error.code() == Code::tpm_refused;
      if (!tpm) throw;
      why = error.what();
    }
  }
  std::optional<Secret> typed =
      world_.ask_secret ? world_.ask_secret(entry.plan, why) : std::nullopt;
  if (!typed) throw Error(Code::tpm_refused, "go on with {}: {}", entry.plan.path, why);
  if (auto recovery = normalized_recovery_key(*typed)) typed = std::move(recovery);
  if (!volume.opens_with(*typed))
    throw Error(Code::wrong_secret, "go on with {}: no keyslot opens with it", entry.plan.path);
  return std::move(*typed);
}

// A journal of the first release has none.
const std::string& Executor::options_of(const VolumePlan& plan) const {
  return plan.crypttab_options.empty() ? policy_.crypttab_options : plan.crypttab_options;
}

// Before the data is rewritten, so that a machine that restarts meanwhile opens the volume.
void Executor::write_tables(const JournalEntry& entry) {
  say(entry, "crypttab and fstab");
  const VolumePlan& plan = entry.plan;
  if (plan.task == Task::adopt || plan.task == Task::convert) {
    const std::vector<CrypttabEntry> lines = load_crypttab(settings_.crypttab);
    // Its line, with whatever options and key file it has, stays; the planner took its name there.
    if (std::ranges::find(lines, plan.mapping, &CrypttabEntry::name) != lines.end()) return;
  }
  add_to_crypttab(settings_.crypttab, {.name = plan.mapping,
                                       .source = "UUID=" + entry.luks_uuid,
                                       .key = "none",
                                       .options = options_of(plan)});
  std::vector<std::string> names = entry.links;
  names.push_back(plan.path);
  names.push_back("/dev/" + plan.name);
  repoint_fstab(settings_.fstab, names, "/dev/mapper/" + plan.mapping);
  if (!plan.mount.empty()) {
    add_to_fstab(settings_.fstab, {.source = "/dev/mapper/" + plan.mapping,
                                   .target = plan.mount,
                                   .type = plan.filesystem,
                                   .options = "defaults"});
  }
}

// A volume that was mounted is mounted again before its data is encrypted; one that is open by now
// stays so.
bool Executor::in_use_meanwhile(const JournalEntry& entry, const Path& device) const {
  return settings_.online && is_block_device(device) &&
         (!entry.plan.mounts.empty() || is_mapping_of(entry.plan.mapping, entry.luks_uuid));
}

void Executor::paused(const JournalEntry& entry) const {
  world_.record(entry.plan, entry.luks_uuid, "enroll.pause", "ok");
  throw Error(Code::interrupted,
              "encrypt {}: stopped; its data is safe and half of it may be encrypted",
              entry.plan.path);
}

// With the header on the device nothing of this needs the window: what is open has a size.
void Executor::encrypt_in_use(const JournalEntry& entry, const Path& device) {
  const std::string& mapping = entry.plan.mapping;
  // Opening repairs what a cut left.
  map(entry, device);
  use(entry.plan, Path("/dev/mapper") / mapping);
  const Secret secret = [&] {
    const Volume volume = Volume::load(device);
    volume.refuse_unsafe();
    return secret_for(entry, volume);
  }();
  say(entry, "encrypting while it is in use");
  bool done = false;
  try {
    done = apart(entry, secret, [&](const Secret& copy, const GoOn& go_on) {
      return InPlaceEncryption::run(device, copy, mapping, go_on);
    });
  } catch (...) {
    give_up_hot_zone(mapping);
    throw;
  }
  if (!done) paused(entry);
}

void Executor::encrypt(const JournalEntry& entry, const Path& device) {
  if (in_use_meanwhile(entry, device)) {
    encrypt_in_use(entry, device);
    return;
  }
  const Window head = window(entry, device);
  const Secret secret = [&] {
    const Volume volume = Volume::load(head.path());
    volume.refuse_unsafe();
    return secret_for(entry, volume);
  }();
  say(entry, "encrypting");
  if (!apart(entry, secret, [&](const Secret& copy, const GoOn& go_on) {
        return InPlaceEncryption::run(head.path(), copy, "", go_on);
      })) {
    paused(entry);
  }
}

void Executor::fill(const JournalEntry& entry, const Path& device) {
  if (!is_block_device(device)) return;
  const VolumePlan& plan = entry.plan;
  map(entry, device);
  const Path mapping = Path("/dev/mapper") / plan.mapping;
  if (plan.task == Task::encrypt_swap) {
    // mkswap writes the head only, and the rest holds what was in memory: keys, passwords, files.
    say(entry, "overwriting what was swapped out");
    if (!apart(entry, {},
               [&](const Secret&, const GoOn& go_on) { return zero_tail(mapping, 0, go_on); })) {
      throw Error(Code::interrupted, "overwrite the old swap area {}: stopped", plan.path);
    }
    say(entry, "making the swap area");
    make_swap(mapping, plan.content_uuid, plan.content_label);
  } else if (plan.filesystem == "ext4") {
    // A cut may have been after it, and the volume in use since.
    if (is_used_ext(mapping)) return;
    say(entry, "making the file system");
    make_ext4(mapping, plan.content_label);
  }
}

void Executor::bind(const JournalEntry& entry, const Path& device) {
  say(entry, "binding and backing up the header");
  Volume volume = Volume::load(device);
  if (const auto found = find_group_token(volume)) {
    bind_fully(volume, world_.group(found->token.group));
    prove_group_protector(device, *world_.protector);
  }
  save_header(entry, device);
}

void Executor::save_header(const JournalEntry& entry, const Path& device) const {
  back_up_header(device, backup_place(policy_.header_backups, entry.luks_uuid), entry.links);
}

void Executor::map(const JournalEntry& entry, const Path& device) {
  const std::string& name = entry.plan.mapping;
  if (is_mapping_of(name, entry.luks_uuid)) return;
  Volume volume = Volume::load(device);
  volume.refuse_unsafe();
  volume.activate(name, secret_for(entry, volume), activate_options(options_of(entry.plan)));
}

// Into the use that it had before, or that the policy wants for it.
void Executor::put_back(const JournalEntry& entry, const Path& device) {
  if (!is_block_device(device)) return;
  // It was closed, and stays so until the next boot or 'volseal unlock'.
  if (entry.plan.task == Task::convert) return;
  VolumePlan wanted = entry.plan;
  if (!wanted.mount.empty()) {
    std::filesystem::create_directories(wanted.mount);
    wanted.mounts = {wanted.mount};
  }
  map(entry, device);
  use(wanted, Path("/dev/mapper") / entry.plan.mapping);
}

}  // namespace volseal
