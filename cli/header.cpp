// volseal header backup|verify|restore: LUKS headers, outside of their volumes.
#include "cli/attempt.h"
#include "cli/exit_status.h"
#include "cli/graph.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/decrypt/journal.h"
#include "core/device/use.h"
#include "core/discover/discover.h"
#include "core/erase/journal.h"
#include "core/luks/backup.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct HeaderOptions {
  std::string target;  // a volume; verify: or a backup, or "" for all
  std::optional<Path> file;
  std::optional<Path> key_file;
  bool json = false;
  bool yes = false;
};

// The machine, and the image file if that is what was named.
DeviceGraph graph_with(const std::string& name) {
  DeviceGraph graph = scan();
  if (is_image(name)) graph.devices.push_back(scan_image(std::filesystem::canonical(name)));
  return graph;
}

// The volume of that name. Nothing: no device that the scan has seen, and no file.
std::optional<DeviceIndex> volume_in(const DeviceGraph& graph, const std::string& name) {
  if (const auto at = graph.find(name)) return at;
  std::error_code none;
  const Path real = std::filesystem::canonical(name, none);
  return none ? std::nullopt : graph.find(real.native());
}

DeviceIndex require_volume(const DeviceGraph& graph, const std::string& name) {
  if (const auto at = volume_in(graph, name)) return *at;
  throw Error(Code::not_found, "open {}: there is no such device or file", escaped(name));
}

BackedUpVolume look_at(const Device& device) {
  return look_at_volume(device.path, lasting_links(device));
}

void record_event(const Session& session, const std::string& action, const std::string& outcome,
                  const Path& volume, const std::string& uuid, const Path& file,
                  const std::string& why = {}) {
  Event event{.action = action,
              .outcome = outcome,
              .volume = volume.native(),
              .luks_uuid = uuid,
              .group = "",
              .detail = {{"file", file.native()}}};
  if (!why.empty()) event.detail["reason"] = why;
  AuditLog(audit_log_of(session.options), "header").record(event);
}

// The folder lies on what it is to help with.
bool lies_on(const DeviceGraph& graph, DeviceIndex volume, const Path& folder) {
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0) return false;
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    const Device& device = graph[at];
    if (device.kind == DeviceKind::file || device.major != major(status.st_dev) ||
        device.minor != minor(status.st_dev)) {
      continue;
    }
    const std::vector<DeviceIndex> below = graph.closure_below(at);
    return std::ranges::find(below, volume) != below.end();
  }
  return false;
}

void back_up(const HeaderOptions& options, const Session& session) {
  const Policy policy = load_policy(session.options.policy);
  const DeviceGraph graph = graph_with(options.target);
  const DeviceIndex at = require_volume(graph, options.target);
  const Device& device = graph[at];
  // What is no LUKS volume is told by libcryptsetup's reader.
  const std::string uuid = Volume::load(device.path).uuid();
  const Path file = options.file.value_or(backup_place(policy.header_backups, uuid));
  // A copy of the keyslots, too: known of before there is one.
  record_event(session, "header.backup", std::string(audit_started), device.path, uuid, file);
  const BackupRecord made = back_up_header(device.path, file, lasting_links(device));
  record_event(session, "header.backup", "ok", device.path, made.uuid, file);
  print_out(fmt::format("the header of {} is in {}, with {} keyslot{}\n", escaped(device.path),
                        escaped(file.native()), made.keyslots.size(),
                        made.keyslots.size() == 1 ? "" : "s"));
  const Path folder = file.has_parent_path() ? file.parent_path() : Path(".");
  if (lies_on(graph, at, folder)) {
    print_err("volseal: warning: {} lies on that volume itself; copy it to another machine\n",
              escaped(file.native()));
  }
}

// A file with nothing behind its header, or with a record beside it.
bool is_backup(const Path& path) {
  if (!is_image(path.native())) return false;
  if (path.extension() == ".luks-header" || std::filesystem::exists(record_place(path)))
    return true;
  const auto header = identify_header(path);
  return header && !header->header.segments.empty() &&
         header->header.segments.front().offset >= std::filesystem::file_size(path);
}

std::vector<Path> backups_in(const Path& folder) {
  std::set<Path> files;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    if (entry.path().extension() == ".luks-header") files.insert(entry.path());
  }
  return {files.begin(), files.end()};
}

// Where the backup of a volume should be: by its UUID, or, where the header is lost, the one whose
// record names the device. Nothing: there is none, or more than one.
std::optional<Path> place_for(const BackedUpVolume& volume, const Path& folder) {
  if (volume.header) return backup_place(folder, volume.header->header.uuid);
  std::optional<Path> found;
  for (const Path& file : backups_in(folder)) {
    if (!why_not_of(read_backup(file), volume).empty()) continue;
    if (found) return std::nullopt;
    found = file;
  }
  return found;
}

// ---- verify

struct CheckedBackup {
  enum class Verdict { sound, outdated, unusable, missing };
  Verdict verdict = Verdict::sound;
  std::string file;
  std::string volume;  // "" where it is not here
  std::string uuid;
  std::string made_at;
  std::size_t keyslots = 0;
  std::vector<std::string> notes;  // safe to print
};

std::string_view word_for(CheckedBackup::Verdict verdict) {
  switch (verdict) {
    case CheckedBackup::Verdict::sound: return "sound";
    case CheckedBackup::Verdict::outdated: return "outdated";
    case CheckedBackup::Verdict::unusable: return "unusable";
    case CheckedBackup::Verdict::missing: return "missing";
  }
  return "";
}

void note(CheckedBackup& checked, CheckedBackup::Verdict verdict, std::string text) {
  checked.verdict = std::max(checked.verdict, verdict);
  checked.notes.push_back(std::move(text));
}

CheckedBackup check_backup(const Path& file, const Device* device) {
  using Verdict = CheckedBackup::Verdict;
  const Backup backup = read_backup(file);
  CheckedBackup checked{.file = file.native(), .volume = device == nullptr ? "" : device->path};
  checked.uuid = backup.header.header.uuid;
  checked.keyslots = backup.header.keyslots.size();
  if (backup.record) checked.made_at = backup.record->made_at;
  if (!backup.flaw.empty()) {
    note(checked, Verdict::unusable, backup.flaw);
    return checked;
  }
  if (!backup.record) {
    note(checked, Verdict::outdated,
         "no record beside it: damage in its keyslots would not be found");
  }
  if (backup.is_previous) {
    note(checked, Verdict::outdated, "a newer one was cut off; this is the one before, and whole");
  }
  if (device == nullptr) return checked;
  const BackedUpVolume volume = look_at(*device);
  if (const std::string why = why_not_of(backup, volume); !why.empty()) {
    note(checked, Verdict::unusable, why);
    return checked;
  }
  if (!volume.header) {
    note(checked, Verdict::outdated,
         fmt::format("the volume's header is lost; 'volseal header restore {}'",
                     escaped(device->path)));
    return checked;
  }
  for (const std::string& change : changes_since(backup, *volume.header)) {
    note(checked, Verdict::outdated, "on the volume, " + change + " since");
  }
  return checked;
}

CheckedBackup check_volume(const Device& device, const Path& folder) {
  const BackedUpVolume volume = look_at(device);
  const auto file = place_for(volume, folder);
  if (file && std::filesystem::exists(*file)) return check_backup(*file, &device);
  CheckedBackup checked{.verdict = CheckedBackup::Verdict::missing, .volume = device.path};
  if (volume.header) checked.uuid = volume.header->header.uuid;
  checked.notes.push_back(
      volume.header ? fmt::format("'volseal header backup {}' makes one", escaped(device.path))
                    : "it has no readable LUKS header, and no backup here is surely that of it");
  return checked;
}

// Whose header a backup is, as far as the volume is here.
const Device* volume_of(const Path& file, DeviceGraph& graph) {
  const Backup backup = read_backup(file);
  const std::string& uuid = backup.header.header.uuid;
  if (uuid.empty()) return nullptr;
  const auto it = std::ranges::find_if(graph.devices, [&](const Device& device) {
    return device.luks && device.luks->uuid == uuid;
  });
  if (it != graph.devices.end()) return &*it;
  if (!backup.record) return nullptr;
  for (const std::string& name : backup.record->names) {
    if (!is_image(name)) continue;
    const auto header = read_header(name);
    if (!header || header->uuid != uuid) continue;
    graph.devices.push_back(scan_image(name));
    return &graph.devices.back();
  }
  return nullptr;
}

std::vector<CheckedBackup> check_all(const Path& folder) {
  DeviceGraph graph = scan();
  std::vector<CheckedBackup> all;
  std::set<std::string> seen;
  for (const Device& device : graph.devices) {
    if (!device.luks || device.luks->uuid.empty()) continue;
    all.push_back(check_volume(device, folder));
    seen.insert(all.back().file);
  }
  for (const Path& file : backups_in(folder)) {
    if (seen.contains(file.native())) continue;
    const Device* device = volume_of(file, graph);
    all.push_back(check_backup(file, device));
  }
  return all;
}

Json to_json(const CheckedBackup& checked) {
  return {{"verdict", word_for(checked.verdict)},
          {"file", to_valid_utf8(checked.file)},
          {"volume", to_valid_utf8(checked.volume)},
          {"luks_uuid", to_valid_utf8(checked.uuid)},
          {"made_at", to_valid_utf8(checked.made_at)},
          {"keyslots", checked.keyslots},
          {"notes", checked.notes}};
}

std::string to_text(const CheckedBackup& checked) {
  std::string text =
      fmt::format("{}: {}", escaped(checked.file.empty() ? checked.volume : checked.file),
                  checked.verdict == CheckedBackup::Verdict::missing ? "no header backup"
                                                                     : word_for(checked.verdict));
  if (!checked.file.empty()) {
    if (!checked.made_at.empty()) text += fmt::format(", made {}", escaped(checked.made_at, 40));
    text += fmt::format(", {} keyslot{}", checked.keyslots, checked.keyslots == 1 ? "" : "s");
    text += checked.volume.empty() ? "; its volume is not here"
                                   : fmt::format("; of {}", escaped(checked.volume));
  }
  text += "\n";
  for (const std::string& line : checked.notes) text += fmt::format("  {}\n", line);
  return text;
}

int verify(const HeaderOptions& options, const Session& session) {
  const Policy policy = load_policy(session.options.policy);
  std::vector<CheckedBackup> all;
  if (options.target.empty()) {
    all = check_all(policy.header_backups);
  } else if (is_backup(options.target)) {
    DeviceGraph graph = scan();
    all.push_back(check_backup(options.target, volume_of(options.target, graph)));
  } else {
    const DeviceGraph graph = graph_with(options.target);
    all.push_back(
        check_volume(graph[require_volume(graph, options.target)], policy.header_backups));
  }
  if (options.json) {
    Json json = {{"schema", "volseal-header-verify/1"}, {"backups", Json::array()}};
    for (const CheckedBackup& checked : all) json["backups"].push_back(to_json(checked));
    print_out(json.dump(1, ' ', true) + "\n");
  } else {
    std::string text;
    for (const CheckedBackup& checked : all) text += to_text(checked);
    print_out(text.empty() ? "no LUKS volume and no header backup is here\n" : text);
  }
  int status = exit_status::good;
  for (const CheckedBackup& checked : all) {
    switch (checked.verdict) {
      case CheckedBackup::Verdict::sound: break;
      case CheckedBackup::Verdict::outdated:
        status = std::max(status, exit_status::warnings);
        break;
      case CheckedBackup::Verdict::unusable:
      case CheckedBackup::Verdict::missing: status = exit_status::not_covered; break;
    }
  }
  return status;
}

// ---- restore

// What lies there would be overwritten; only what is left of a LUKS volume may be.
std::string other_content(const Device& device) {
  switch (device.content.kind) {
    case ContentKind::blank:
    case ContentKind::luks1:
    case ContentKind::luks2:
    case ContentKind::unknown:
    case ContentKind::unreadable: return "";
    case ContentKind::filesystem:
    case ContentKind::swap:
    case ContentKind::hibernation:
    case ContentKind::lvm_member:
    case ContentKind::md_member:
    case ContentKind::bcache_member:
    case ContentKind::partition_table:
    case ContentKind::other: break;
  }
  return fmt::format("it holds {} now; if that is what destroyed the header, 'wipefs -a {}' first",
                     escaped(device.content.type, 40), escaped(device.path));
}

// What opens the volume: the TPM, else what a person has. Asked for once.
class Proof {
 public:
  Proof(const HeaderOptions& options, Groups& groups)
      : options_(options), unlocker_(groups.protector(), groups.ask_pin()) {}

  Attempt on(const Path& header) {
    const UnlockTarget target{.device = header, .mapping = ""};
    Attempt attempt;
    if (!options_.key_file && !given_) {
      attempt = unlocker_.by_group(target);
      const bool asked_tpm = !attempt.group.empty();
      if (attempt.outcome == Outcome::opened || attempt.outcome == Outcome::tampered ||
          (asked_tpm && !can_ask())) {
        return named(std::move(attempt));
      }
    }
    if (!given_) given_ = existing_secret(options_.key_file, escaped(options_.target));
    return named(Unlocker::by_secret(target, *given_));
  }

 private:
  Attempt named(Attempt attempt) const {
    attempt.device = options_.target;
    return attempt;
  }

  const HeaderOptions& options_;
  Unlocker unlocker_;
  std::optional<Secret> given_;
};

Path require_place(const HeaderOptions& options, const BackedUpVolume& volume, const Path& folder) {
  if (options.file) return *options.file;
  const auto file = place_for(volume, folder);
  if (file && std::filesystem::exists(*file)) return *file;
  throw Error(Code::not_found,
              "restore the header of {}: {} has no backup that is surely that of it; name one with "
              "--file",
              options.target, folder.native());
}

void show_what_changes(const Backup& backup, const BackedUpVolume& volume) {
  if (backup.record) {
    tell_out(fmt::format("the backup was made {}\n", escaped(backup.record->made_at, 40)));
  }
  if (!volume.header) {
    tell_out("the header that is there now cannot be read\n");
    return;
  }
  for (const std::string& change : changes_since(backup, *volume.header)) {
    tell_out(fmt::format("since then {}: that is undone\n", change));
  }
}

int restore(const HeaderOptions& options, const Session& session) {
  // A volume that is half decrypted has data where its header was.
  refuse_while_decrypting(session.options.state, "restore a header");
  refuse_while_erasing(session.options.state, "restore a header");
  const Policy policy = load_policy(session.options.policy);
  make_folder(session.options.state);
  const FileLock lock(session.options.state / "lock");
  const DeviceGraph graph = graph_with(options.target);
  const DeviceIndex at = require_volume(graph, options.target);
  const Device& device = graph[at];
  const BackedUpVolume volume = look_at(device);
  const Path file = require_place(options, volume, policy.header_backups);
  const Backup backup = read_backup(file);
  const std::string uuid = backup.header.header.uuid;

  const auto refuse = [&](Code code, const std::string& why) {
    record_event(session, "header.restore", "refused", device.path, uuid, file, why);
    throw Error(code, "restore the header of {} from {}: {}", escaped(device.path),
                escaped(file.native()), why);
  };
  if (const std::string why = why_not_of(backup, volume); !why.empty()) {
    refuse(backup.flaw.empty() ? Code::unsafe : Code::damaged, why);
  }
  if (is_in_place(backup, device.path)) {
    print_out(fmt::format("{} has this header already\n", escaped(device.path)));
    return exit_status::good;
  }
  if (const std::string why = use_of(graph, at); !why.empty()) refuse(Code::busy, why);
  if (const std::string why = other_content(device); !why.empty()) refuse(Code::unsafe, why);

  // Before anything is written: a header that nobody can open is no help.
  const HeaderCopy header(backup);
  Groups groups(session.options, policy);
  Proof proof(options, groups);
  if (const Attempt attempt = proof.on(header.path()); attempt.outcome != Outcome::opened) {
    record_event(session, "header.restore", "refused", device.path, uuid, file,
                 fmt::format("{} by {}", to_string(attempt.outcome), attempt.protector));
    print_err("volseal: {} was not written: the backup could not be opened\n",
              escaped(device.path));
    return report_attempt(attempt, "opens");
  }
  show_what_changes(backup, volume);
  if (!options.yes && !confirm(fmt::format("Write this header to {}?", escaped(device.path)))) {
    throw Error(Code::usage, "restore: not confirmed; say --yes where there is no terminal");
  }

  const Path kept = file.parent_path() / fmt::format("{}.head-before-{}", uuid, utc_now());
  record_event(session, "header.restore", std::string(audit_started), device.path, uuid, file);
  try {
    restore_header(header, device.path, kept);
  } catch (const Error& error) {
    record_event(session, "header.restore", "failed", device.path, uuid, file, error.what());
    throw;
  }
  const Attempt attempt = proof.on(device.path);
  record_event(session, "header.restore",
               attempt.outcome == Outcome::opened ? "ok" : std::string(to_string(attempt.outcome)),
               device.path, uuid, file);
  tell_out(fmt::format("what was there before is in {}\n", escaped(kept.native())));
  return report_attempt(attempt, "is restored, and opens");
}

}  // namespace

void add_header(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "header", "LUKS headers outside of their volumes: backup, verify, restore");
  verb->require_subcommand(1);
  auto options = std::make_shared<HeaderOptions>();
  const auto volume = [options](CLI::App* sub) {
    sub->add_option("VOLUME", options->target, "block device or image file")->required();
  };
  const auto file = [options](CLI::App* sub) {
    sub->add_option("--file", options->file,
                    "the backup; else UUID.luks-header in the policy's header_backups");
  };

  CLI::App* backup_verb =
      verb->add_subcommand("backup", "copy header and keyslots, with a record of whose they are");
  volume(backup_verb);
  file(backup_verb);
  backup_verb->callback([options, &session] { back_up(*options, session); });

  CLI::App* verify_verb =
      verb->add_subcommand("verify", "see that a backup is whole, and still that of its volume");
  verify_verb->add_option("WHAT", options->target,
                          "a backup, or a volume; else all volumes and backups");
  verify_verb->add_flag("--json", options->json, "as JSON");
  verify_verb->footer(
      "Exit status: 0 sound, 1 sound but older than a change of keyslots or tokens or without\n"
      "record, 2 missing or not to be restored.");
  verify_verb->callback([options, &session] { session.status = verify(*options, session); });

  CLI::App* restore_verb =
      verb->add_subcommand("restore", "write a backup back, once it was shown to open");
  volume(restore_verb);
  file(restore_verb);
  restore_verb->add_option(
      "--key-file", options->key_file,
      "file with a passphrase or recovery key of then, instead of the TPM; - for standard input");
  restore_verb->add_flag("--yes", options->yes, "do not ask");
  restore_verb->callback([options, &session] { session.status = restore(*options, session); });
}

}  // namespace volseal
