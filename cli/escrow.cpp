// volseal escrow list|verify|open|renew: recovery keys that others keep.
#include "cli/drills.h"
#include "cli/escrow_list.h"
#include "cli/escrow_open.h"
#include "cli/escrows.h"
#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/recovery_page.h"
#include "cli/verb.h"
#include "cli/way_in.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/enroll/protectors.h"
#include "core/luks/volume.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct EscrowVerb {
  std::vector<std::string> volumes;
  EscrowKeys sealed;
  std::optional<Path> volume;
  std::optional<Path> key_file;
  std::optional<Path> output;
  std::optional<int> escrow_fd;
  std::string group = "default";
  bool show = false;
  bool json = false;
};

// Where the volume is on this machine; nothing: not here.
std::optional<Path> find_volume(const EscrowVerb& verb, const escrow::Recovered& recovered) {
  if (verb.volume) return verb.volume;
  Path link = "/dev/disk/by-uuid/" + recovered.luks_uuid;
  if (!std::filesystem::exists(link)) return std::nullopt;
  return link;
}

void record(const Session& session, const std::string& action, const std::string& outcome,
            const std::string& volume, const escrow::Recovered& recovered) {
  AuditLog(audit_log_of(session.options), "escrow")
      .record({.action = action,
               .outcome = outcome,
               .volume = volume,
               .luks_uuid = recovered.luks_uuid,
               .group = recovered.group,
               .detail = {{"escrowed", recovered.date}}});
}

int opened_keyslot(const Path& path, const escrow::Recovered& recovered) {
  const Volume volume = Volume::load(path);
  if (volume.uuid() != recovered.luks_uuid) {
    throw Error(Code::bad_blob, "try the escrowed key on {}: it is the volume {}, the key is of {}",
                path.native(), escaped(volume.uuid()), recovered.luks_uuid);
  }
  volume.refuse_unsafe();
  const auto slot = volume.opens_with(recovered.key);
  if (!slot) {
    throw Error(Code::wrong_secret,
                "try the escrowed key on {}: it opens no keyslot; it was replaced after {}",
                path.native(), escaped(recovered.date));
  }
  return *slot;
}

int verify(const EscrowVerb& verb, const Session& session) {
  const escrow::Recovered key = open_escrow(verb.sealed);
  const auto path = find_volume(verb, key);
  std::optional<int> slot;
  if (path) {
    try {
      slot = opened_keyslot(*path, key);
    } catch (const Error&) {
      record(session, "escrow.verify", "failed", path->native(), key);
      throw;
    }
  }
  record(session, "escrow.verify", slot ? "ok" : "not-here", path ? path->native() : "", key);
  if (slot && path) record_drill(session.options, "escrow", *path, *slot, Outcome::opened);
  if (verb.json) {
    const Json json = {{"schema", "volseal-escrow-verify/1"},
                       {"luks_uuid", key.luks_uuid},
                       {"host", to_valid_utf8(key.host)},
                       {"group", to_valid_utf8(key.group)},
                       {"escrowed", to_valid_utf8(key.date)},
                       {"volume", path ? Json(to_valid_utf8(path->native())) : Json()},
                       {"keyslot", slot ? Json(*slot) : Json()}};
    print_out(json.dump(1) + "\n");
  } else if (slot && path) {
    print_out(fmt::format("the key that was escrowed on {} opens keyslot {} of {}\n",
                          escaped(key.date.substr(0, 10)), *slot, escaped(path->native())));
  } else {
    print_out(
        fmt::format("it is a recovery key of the volume {} of {}, escrowed on {}; that volume "
                    "is not here, so it was not tried\n",
                    key.luks_uuid, escaped(key.host), escaped(key.date.substr(0, 10))));
  }
  return slot ? exit_status::good : exit_status::undecided;
}

void open(const EscrowVerb& verb, const Session& session) {
  if (verb.show == verb.output.has_value()) {
    throw Error(Code::usage, "open an escrow: say either --show or --output FILE");
  }
  if (verb.show && !is_terminal(STDOUT_FILENO)) {
    throw Error(Code::usage, "open an escrow: --show is for a terminal; give --output FILE");
  }
  if (verb.output && std::filesystem::exists(std::filesystem::symlink_status(*verb.output))) {
    throw Error(Code::usage, "open an escrow: {} is there already", verb.output->native());
  }
  const escrow::Recovered key = open_escrow(verb.sealed);
  // Nobody sees it before the log says so.
  record(session, "escrow.open", std::string(audit_started), "", key);
  if (verb.output) {
    write_secret_file(*verb.output, key.key);
  } else {
    show_recovery_key(STDOUT_FILENO, key.host, key.luks_uuid, key.key);
  }
  record(session, "escrow.open", "ok", "", key);
  print_err("volseal: once it was used, replace it: 'volseal escrow renew VOLUME'\n");
}

std::vector<int> recovery_keyslots(const Volume& volume) {
  std::vector<int> slots;
  const std::vector<int> all = volume.keyslots();
  for (const VolumeToken& token : volume.tokens()) {
    if (token.type != "systemd-recovery") continue;
    const auto json = nlohmann::json::parse(token.json, nullptr, false);
    for (const auto& named : json.value("keyslots", nlohmann::json::array())) {
      for (const int slot : all) {
        if (named == std::to_string(slot)) slots.push_back(slot);
      }
    }
  }
  return slots;
}

void renew(const EscrowVerb& verb, const Session& session) {
  const Path path = verb.volumes.front();
  Volume volume = Volume::load(path);
  volume.refuse_unsafe();
  const auto token = volume.version() == 2 ? find_group_token(volume) : std::nullopt;
  const std::string group = token ? token->token.group : verb.group;
  const Policy policy = load_policy(session.options.policy);
  const AuditLog audit(audit_log_of(session.options), "escrow");
  Escrows escrows(policy, audit, verb.escrow_fd);
  if (volume.version() != 2) {
    throw Error(Code::usage,
                "renew the recovery key of {}: it is LUKS1; 'volseal enroll' converts it",
                path.native());
  }
  if (!escrows.keeps(group)) {
    throw Error(Code::usage,
                "renew the recovery key of {}: the policy has no [group.{}.escrow]; 'volseal "
                "protector add recovery-key' makes one without",
                path.native(), escaped(group));
  }
  escrows.require_ready(group);
  const std::vector<int> old = recovery_keyslots(volume);
  Groups groups(session.options, policy);
  Fido2 keys(person_at_terminal());
  const Secret existing = way_in(verb.key_file, volume, groups, keys);
  const auto event = [&](const std::string& outcome) {
    return Event{.action = "escrow.renew",
                 .outcome = outcome,
                 .volume = path.native(),
                 .luks_uuid = volume.uuid(),
                 .group = group};
  };
  audit.record(event(std::string(audit_started)));
  const Secret key = new_recovery_key();
  const int slot = add_recovery_key(volume, &existing, key);
  try {
    note_escrow(volume, slot, escrows.deposit(group, path.native(), volume.uuid(), key));
    if (escrows.shows(group) && can_ask()) hand_over_on_terminal(path.native(), volume.uuid(), key);
  } catch (...) {
    remove_protector(volume, slot);
    throw;
  }
  // The new key opens and others have it: only now do the old ones go. A cut leaves both.
  for (const int gone : old) remove_protector(volume, gone);
  audit.record(event("ok"));
  print_err(
      "volseal: keyslot {} of {} has the new recovery key{}; header backups still hold the old: "
      "'volseal header backup {}'\n",
      slot, escaped(path.native()),
      old.empty() ? "" : fmt::format(", keyslot {} is gone", fmt::join(old, ", ")),
      escaped(path.native()));
}

}  // namespace

void add_escrow(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "escrow", "recovery keys that the holders of certificates keep: list, verify, open, renew");
  verb->require_subcommand(1);
  auto options = std::make_shared<EscrowVerb>();
  const auto blobs = [options](CLI::App* sub) {
    sub->add_option("BLOB", options->sealed.blobs,
                    "what was escrowed; of shares as many as are needed")
        ->required();
    add_escrow_keys(*sub, options->sealed, true);
  };

  CLI::App* list_verb =
      verb->add_subcommand("list", "which recovery keys are in escrow, with whom, since when");
  list_verb->add_option("VOLUME", options->volumes, "devices or image files; all by default");
  list_verb->add_flag("--json", options->json, "as JSON");
  list_verb->footer("Exit status: 0 as the policy says, 1 not.");
  list_verb->callback([options, &session] {
    session.status = list_escrows(options->volumes, options->json, session.options);
  });

  CLI::App* verify_verb = verb->add_subcommand(
      "verify", "prove with private keys that what was escrowed opens the volume; shows no key");
  blobs(verify_verb);
  verify_verb->add_option("--volume", options->volume, "the volume, else that of the blob's UUID")
      ->type_name("DEVICE");
  verify_verb->add_flag("--json", options->json, "as JSON");
  verify_verb->footer(
      "Exit status: 0 it opens, 3 the volume is not here, 4 a blob or key is bad, 6 it does not "
      "open.");
  verify_verb->callback([options, &session] { session.status = verify(*options, session); });

  CLI::App* open_verb = verb->add_subcommand("open", "get the recovery key out; it is logged");
  blobs(open_verb);
  open_verb->add_flag("--show", options->show, "show it on this terminal");
  open_verb->add_option("--output", options->output, "write it to a new file, for its owner alone")
      ->type_name("FILE");
  open_verb->callback([options, &session] { open(*options, session); });

  CLI::App* renew_verb =
      verb->add_subcommand("renew", "a new recovery key, escrowed before the old one is removed");
  renew_verb->add_option("VOLUME", options->volumes, "block device or image file")
      ->required()
      ->expected(1);
  renew_verb->add_option("--key-file", options->key_file,
                         "what opens it now, where the TPM does not; - for standard input");
  renew_verb->add_option("--group", options->group, "its group, where the volume does not say it")
      ->capture_default_str();
  add_escrow_fd(*renew_verb, options->escrow_fd);
  renew_verb->callback([options, &session] { renew(*options, session); });
}

}  // namespace volseal
