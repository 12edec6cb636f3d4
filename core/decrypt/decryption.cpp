#include "core/decrypt/decryption.h"

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/log.h"
#include "core/decrypt/tail.h"
#include "core/luks/backup.h"
#include "core/luks/header.h"
#include "core/tables/tables.h"
#include "core/unlock/boot_list.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

void sync_file(const Path& file) {
  sync_fd(open_file(file, O_RDONLY).get(), file.native());
  sync_folder(file.parent_path());
}

std::string text_of(const Path& table) {
  return read_file_if_any(table).value_or("");
}

}  // namespace

Decryption::Decryption(const Policy& policy, DecryptionSettings settings, DecryptionWorld world)
    : policy_(policy),
      settings_(std::move(settings)),
      world_(std::move(world)),
      journal_(settings_.state) {}

void Decryption::say(const DecryptionPlan& plan, const std::string& step) const {
  if (world_.on_step) world_.on_step(plan, step);
}

void Decryption::advance(DecryptionEntry& entry, DecryptPhase phase) const {
  entry.phase = phase;
  journal_.write(entry);
}

void Decryption::require_unchanged(const DecryptionPlan& plan) const {
  const DeviceGraph graph = world_.scan();
  const auto at = graph.find(plan.path);
  if (!at) throw Error(Code::not_found, "decrypt {}: it is gone", plan.path);
  const Device& device = graph[*at];
  if (!plan.obstacles.empty() || device.name != plan.name || device.diskseq != plan.diskseq ||
      device.size != plan.size || !device.luks || device.luks->uuid != plan.luks_uuid ||
      device.read_only) {
    throw Error(Code::unsafe, "decrypt {}: it is not what the plan was made for", plan.path);
  }
  std::vector<std::string> mounts;
  for (const DeviceIndex above : graph.above(*at)) {
    if (graph[above].dm_name != plan.open_as || !graph.above(above).empty()) {
      throw Error(Code::unsafe, "decrypt {}: {} stands on it now", plan.path,
                  escaped(graph[above].path));
    }
    mounts = graph[above].mounts;
  }
  for (const std::string& mount : mounts) {
    if (std::ranges::find(plan.mounts, mount) == plan.mounts.end()) {
      throw Error(Code::unsafe, "decrypt {}: it is mounted at {} now", plan.path, escaped(mount));
    }
  }
}

Path Decryption::decrypt(const DecryptionPlan& plan) {
  require_unchanged(plan);
  const Path device = plan.path;
  world_.record(plan, "decrypt.start", "started");
  // Asked for and tried while the volume is still in use: a wrong key disturbs nobody.
  const Volume volume = Volume::load(device);
  volume.refuse_unsafe();
  const Secret secret = world_.open_with(plan, volume);
  journal_.remove_strays();
  release(plan);
  std::optional<DecryptionEntry> entry;
  try {
    require_unclaimed(device);
    entry = prepare(plan, device, secret);
  } catch (...) {
    // Nothing of the volume was written: everything goes back to where it was.
    journal_.remove_strays();
    reopen(plan, device, secret);
    throw;
  }
  return carry_on(std::move(*entry), device);
}

// The device is only read.
DecryptionEntry Decryption::prepare(const DecryptionPlan& plan, const Path& device,
                                    const Secret& secret) {
  DecryptionEntry entry{
      .id = to_hex(Secret::random(8).bytes()), .plan = plan, .started_at = utc_now()};
  const Volume volume = Volume::load(device);
  if (volume.uuid() != plan.luks_uuid || volume.data_offset() != plan.data_offset) {
    throw Error(Code::unsafe, "decrypt {}: its header is not what the plan was made for",
                plan.path);
  }
  learn_content(entry.plan, device, secret);
  say(plan, "copying the header");
  make_folder(journal_.folder());
  const Path header = journal_.pristine_header(entry.id);
  volume.copy_header(header);
  std::filesystem::permissions(
      header, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  sync_file(header);
  if (!Volume::load(header).opens_with(secret)) {
    throw Error(Code::internal, "prove the header copy {}: it does not open", header.native());
  }
  InPlaceDecryption::rehearse(header, size_of(device), secret);
  entry.backup = backup_place(policy_.header_backups, plan.luks_uuid);
  back_up_header(device, entry.backup, plan.links);
  world_.record(plan, "header.backup", "ok");
  // The room for the header's own changes is taken before anything depends on it.
  std::filesystem::copy_file(header, journal_.working_header(entry.id));
  sync_file(journal_.working_header(entry.id));
  journal_.write(entry);
  return entry;
}

// What fstab may call it. A closed volume does not show it.
void Decryption::learn_content(DecryptionPlan& plan, const Path& device,
                               const Secret& secret) const {
  if (!plan.open_as.empty() || !is_block_device(device)) return;
  const std::string name = "volseal-look-" + plan.luks_uuid;
  Volume volume = Volume::load(device);
  volume.activate(name, secret, {.read_only = true});
  const Finally close([&] {
    try {
      deactivate(name);
    } catch (const Error& error) {
      log::warning("{}", error.what());
    }
  });
  const DeviceGraph graph = world_.scan();
  if (const auto at = graph.find("/dev/mapper/" + name)) {
    const Content& content = graph[*at].content;
    plan.content_type = content.type;
    plan.content_uuid = content.uuid;
    plan.content_label = content.label;
  }
}

Path Decryption::carry_on(DecryptionEntry entry, const Path& device) {
  for (auto phase = std::ranges::find(decrypt_phases, entry.phase); phase != decrypt_phases.end();
       ++phase) {
    if (entry.phase != *phase) advance(entry, *phase);
    perform(entry, device);
  }
  world_.record(entry.plan, "decrypt.finish", "ok");
  journal_.remove(entry);
  put_back(entry.plan, device);
  return set_backup_aside(entry.backup);
}

// Each case may be entered again after a cut in its middle; its comment says why that is safe.
void Decryption::perform(DecryptionEntry& entry, const Path& device) {
  switch (entry.phase) {
    case DecryptPhase::prepared: return;
    case DecryptPhase::holding:
      // Each table is replaced atomically, and what is held already stays as it is.
      if (is_block_device(device)) hold_tables(entry);
      return;
    case DecryptPhase::moving:
      // Overwrites the old header, of which there are a copy and a backup, with a copy of the first
      // data, which stays where it is. Again: from the pristine header, with the same bytes.
      move(entry, device);
      return;
    case DecryptPhase::decrypting:
      // libcryptsetup notes in the working header what each zone was, and repairs it from there.
      run(entry, device);
      look_inside(entry, device);
      entry.tail = fingerprint(device, entry.plan.size - known_bytes, known_bytes);
      return;
    case DecryptPhase::wiping:
      // Nothing is there but libcryptsetup's noise. Again: from the start, its last bytes last.
      wipe(entry, device);
      return;
    case DecryptPhase::tables:
      // As in holding.
      if (is_block_device(device)) write_tables(entry);
      return;
    case DecryptPhase::forgetting:
      // The volume needs no header any more. Again: what is left of the files.
      say(entry.plan, "destroying the header files");
      journal_.destroy_headers(entry);
      set_backup_aside(entry.backup);
      return;
  }
}

void Decryption::move(DecryptionEntry& entry, const Path& device) {
  const Path pristine = journal_.pristine_header(entry.id);
  const Path working = journal_.working_header(entry.id);
  const auto there = identify_header(device);
  if (there && there->header.uuid == entry.plan.luks_uuid) {
    const auto ours = identify_header(pristine);
    if (!ours || ours->key_digest != there->key_digest ||
        ours->header.segments != there->header.segments) {
      throw Error(Code::unsafe,
                  "decrypt {}: it was re-encrypted since its header was copied; 'volseal header "
                  "verify' says more",
                  entry.plan.path);
    }
    // It may have been written to since the journal began. From here on it cannot be.
    entry.head = fingerprint(device, entry.plan.data_offset, known_bytes);
    journal_.write(entry);
  }
  say(entry.plan, "moving the data over the header");
  std::filesystem::copy_file(pristine, working, std::filesystem::copy_options::overwrite_existing);
  sync_file(working);
  const Volume header = Volume::load(working);
  header.refuse_unsafe();
  const Secret secret = world_.open_with(entry.plan, header);
  world_.record(entry.plan, "header.remove", "started");
  try {
    InPlaceDecryption::begin(working, device, secret);
  } catch (const Error& error) {
    log::warning("{}: {}; it is made again what it was", escaped(entry.plan.path),
                 escaped(error.what()));
    give_back(entry, device);
    reopen(entry.plan, device, secret);
    throw;
  }
}

// The first data still is where it was, so the header at the head makes the volume whole. After a
// cut, or where this fails too, the phase `moving` stands, and is done again.
void Decryption::give_back(const DecryptionEntry& entry, const Path& device) const {
  const Path pristine = journal_.pristine_header(entry.id);
  const std::string header = read_head(pristine, size_of(pristine));
  if (read_head(device, header.size()) != header) {
    install_header(pristine, device, true);
    world_.record(entry.plan, "header.install", "ok");
  }
  if (is_block_device(device)) free_tables(entry);
  journal_.remove(entry);
}

void Decryption::run(DecryptionEntry& entry, const Path& device) {
  const Path header = journal_.working_header(entry.id);
  if (InPlaceDecryption::is_done(header)) return;
  const Secret secret = [&] {
    const Volume volume = Volume::load(header);
    volume.refuse_unsafe();
    return world_.open_with(entry.plan, volume);
  }();
  say(entry.plan, "decrypting");
  const auto progress = [&](std::uint64_t done, std::uint64_t total) {
    if (done > 0 && entry.middle.empty()) {
      entry.middle = fingerprint(device, entry.plan.data_offset, known_bytes);
      journal_.write(entry);
    }
    return world_.progress(done, total);
  };
  if (!InPlaceDecryption::run(header, device, secret, progress)) {
    world_.record(entry.plan, "decrypt.pause", "ok");
    throw Error(Code::interrupted,
                "decrypt {}: stopped; its data is safe, and only 'volseal decrypt' can go on",
                entry.plan.path);
  }
}

// By what fstab will name it.
void Decryption::look_inside(DecryptionEntry& entry, const Path& device) const {
  const DeviceGraph graph = world_.scan();
  const auto at = graph.find(device.native());
  if (!at) throw Error(Code::not_found, "look into {}: it is gone", device.native());
  const Content& content = graph[*at].content;
  if (content.uuid.empty()) return;
  entry.plan.content_type = content.type;
  entry.plan.content_uuid = content.uuid;
  entry.plan.content_label = content.label;
}

void Decryption::wipe(const DecryptionEntry& entry, const Path& device) const {
  const std::uint64_t begin = entry.plan.size - entry.plan.data_offset;
  const DeviceGraph graph = world_.scan();
  const auto at = graph.find(device.native());
  if (at && graph[*at].content.size > begin) {
    log::warning("{}: its file system has grown since; its end is not zeroed",
                 escaped(device.native()));
    return;
  }
  say(entry.plan, "zeroing the end, which is free now");
  zero_to_the_end(device, begin);
}

void Decryption::hold_tables(const DecryptionEntry& entry) const {
  say(entry.plan, "holding its lines in crypttab and fstab");
  const DecryptionPlan& plan = entry.plan;
  if (plan.crypttab) {
    CrypttabEntry line = *plan.crypttab;
    if (!has_option(line.options, "noauto")) {
      line.options += line.options.empty() ? "luks,noauto" : ",noauto";
    }
    add_to_crypttab(settings_.crypttab, line);
  }
  std::vector<std::string> sources = fstab_names(plan);
  if (!plan.content_uuid.empty()) {
    sources.push_back("UUID=" + plan.content_uuid);
    sources.push_back("/dev/disk/by-uuid/" + plan.content_uuid);
  }
  if (!plan.content_label.empty()) {
    sources.push_back("LABEL=" + plan.content_label);
    sources.push_back("/dev/disk/by-label/" + plan.content_label);
  }
  save_table(settings_.fstab, with_fstab_hold(text_of(settings_.fstab), sources));
}

void Decryption::free_tables(const DecryptionEntry& entry) const {
  if (entry.plan.crypttab) add_to_crypttab(settings_.crypttab, *entry.plan.crypttab);
  save_table(settings_.fstab, without_fstab_hold(text_of(settings_.fstab)));
}

void Decryption::write_tables(const DecryptionEntry& entry) const {
  say(entry.plan, "crypttab and fstab");
  const DecryptionPlan& plan = entry.plan;
  if (plan.crypttab) {
    save_table(settings_.crypttab,
               without_crypttab_entry(text_of(settings_.crypttab), plan.crypttab->name));
  }
  const std::string source = !plan.content_uuid.empty() ? "UUID=" + plan.content_uuid
                             : !plan.links.empty()      ? plan.links.front()
                                                        : plan.path;
  save_table(settings_.fstab, with_fstab_source(without_fstab_hold(text_of(settings_.fstab)),
                                                fstab_names(plan), source));
}

}  // namespace volseal
