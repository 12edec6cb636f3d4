// volseal protector add: what opens it now, the new way in, and the proof.
#include "cli/escrows.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/protector.h"
#include "cli/recovery_page.h"
#include "cli/way_in.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/enroll/protectors.h"
#include "core/protect/fido2.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/unlocker.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace volseal {

Volume load_for_token(const Path& path, const std::string& kind) {
  Volume volume = Volume::load(path);
  volume.refuse_unsafe();
  if (volume.version() != 2 && kind != "passphrase") {
    throw Error(Code::usage,
                "add {} to {}: it is LUKS1, which has no room for tokens; convert it first with "
                "'cryptsetup convert'",
                kind, path.native());
  }
  return volume;
}

Fido2::Enrolled new_fido2(const ProtectorOptions& options, const std::vector<Volume>& volumes,
                          const std::vector<Fido2Token>& others, Fido2& keys) {
  if (!options.like) {
    return keys.enroll(volumes.front().uuid(), escaped(volumes.front().path().native()),
                       options.device, others);
  }
  const std::vector<Fido2Token> tokens = find_fido2_tokens(Volume::load(*options.like));
  if (tokens.empty())
    throw Error(Code::not_found, "add fido2 like {}: it has no FIDO2 key", options.like->native());
  Fido2Answer answer = keys.open(tokens);
  if (answer.outcome != Outcome::opened) {
    throw Error(answer.outcome == Outcome::no_key ? Code::no_key : Code::key_refused,
                "add fido2 like {}: {}", options.like->native(), answer.reason);
  }
  Fido2Token token = tokens[answer.token];
  token.keyslots.clear();
  if (std::ranges::any_of(others,
                          [&](const Fido2Token& other) { return other.same_secret(token); }))
    throw Error(Code::usage, "add fido2: that key opens a keyslot of the volume already");
  return {.token = std::move(token),
          .passphrase = std::move(answer.passphrase),
          .key = {.binds_pin = true}};
}

void warn_of_old_key(const Fido2Key& key) {
  if (key.binds_pin) return;
  print_err(
      "volseal: warning: {} knows CTAP 2.0 only, which lets who holds the key have its secret "
      "without the PIN\n",
      key.name);
}

Secret new_passphrase(const ProtectorOptions& options) {
  Secret passphrase =
      options.new_key_file ? read_secret(*options.new_key_file) : ask_new_secret("passphrase");
  constexpr std::size_t shortest = 8;
  if (passphrase.size() < shortest)
    throw Error(Code::usage, "add a passphrase: fewer than {} characters", shortest);
  return passphrase;
}

namespace {

// Escrowed where the policy of the volume's group says so, else shown; both only where it says
// that.
int add_new_recovery_key(const ProtectorOptions& options, const Session& session,
                         const Policy& policy, Volume& volume, const Secret& existing) {
  const auto token = find_group_token(volume);
  const std::string group = token ? token->token.group : options.group;
  const AuditLog audit(audit_log_of(session.options), "protector");
  Escrows escrows(policy, audit, options.escrow_fd);
  escrows.require_ready(group);
  const Secret key = new_recovery_key();
  const int slot = add_recovery_key(volume, &existing, key);
  try {
    if (escrows.keeps(group)) {
      note_escrow(volume, slot,
                  escrows.deposit(group, options.volume.native(), volume.uuid(), key));
    }
    if (!escrows.keeps(group) || escrows.shows(group))
      show_new_recovery_key(options.page,
                            {.volume = options.volume.native(),
                             .luks_uuid = volume.uuid(),
                             .host = "",
                             .date = "",
                             .together_with = ""},
                            key);
  } catch (...) {
    // A key that nobody has is a keyslot that nobody can use.
    remove_protector(volume, slot);
    throw;
  }
  return slot;
}

// The whole way that a boot takes, but for the touch: the token as it lies on the volume, its
// keyslot.
void prove_fido2(const Path& volume, int slot, Fido2& keys) {
  const Attempt attempt = Unlocker::by_fido2({.device = volume, .mapping = ""}, keys, slot);
  if (attempt.outcome != Outcome::opened || attempt.keyslot != slot)
    throw Error(Code::internal, "prove the FIDO2 key of {}: {}", volume.native(), attempt.reason);
}

// One credential and one salt for all of the volumes: one touch opens them all.
void add_fido2_to(const ProtectorOptions& options, const Session& session) {
  const Policy policy = load_policy(session.options.policy);
  Groups groups(session.options, policy);
  Fido2 keys(person_at_terminal(options.pin_file));
  std::vector<Volume> volumes;
  std::vector<Secret> ways;
  for (const Path& path : options.volumes) {
    volumes.push_back(load_for_token(path, "fido2"));
    ways.push_back(way_in(options.key_file, volumes.back(), groups, keys));
  }
  std::vector<Fido2Token> others;
  for (const Volume& volume : volumes)
    std::ranges::move(find_fido2_tokens(volume), std::back_inserter(others));
  const Fido2::Enrolled enrolled = new_fido2(options, volumes, others, keys);
  warn_of_old_key(enrolled.key);
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    Volume& volume = volumes[i];
    record_protector(session, "protector.add", "started", volume, "fido2");
    const int slot = add_fido2(volume, &ways[i], enrolled.token, enrolled.passphrase);
    prove_fido2(volume.path(), slot, keys);
    record_protector(session, "protector.add", "ok", volume, "fido2");
    print_err("volseal: keyslot {} of {} opens with the FIDO2 key\n", slot,
              escaped(volume.path().native()));
  }
}

}  // namespace

void add_protector_to(ProtectorOptions options, const Session& session) {
  if (options.kind == "fido2") return add_fido2_to(options, session);
  if (parse_parts(options.kind)) return add_all_of_to(options, session);
  if (options.volumes.size() != 1 || options.like || !options.device.empty())
    throw Error(Code::usage, "add {}: one volume; --like and --device are for fido2", options.kind);
  options.volume = options.volumes.front();
  Volume volume = load_for_token(options.volume, options.kind);
  const Policy policy = load_policy(session.options.policy);
  Groups groups(session.options, policy);
  Fido2 keys(person_at_terminal(options.pin_file));
  const Secret existing = way_in(options.key_file, volume, groups, keys);
  record_protector(session, "protector.add", "started", volume, options.kind,
                   options.kind == "tpm" ? options.group : "");

  int slot = -1;
  if (options.kind == "recovery-key") {
    slot = add_new_recovery_key(options, session, policy, volume, existing);
  } else if (options.kind == "passphrase") {
    slot = add_passphrase(volume, &existing, new_passphrase(options));
  } else {
    const GroupMaterial material = groups.open(options.group);
    slot = add_group_protector(volume, &existing, options.group, material, "full");
    prove_group_protector(options.volume, groups.protector());
  }
  record_protector(session, "protector.add", "ok", volume, options.kind,
                   options.kind == "tpm" ? options.group : "");
  print_err("volseal: keyslot {} of {} opens with the new {}\n", slot,
            escaped(options.volume.native()), options.kind);
}

void record_protector(const Session& session, const std::string& action, const std::string& outcome,
                      const Volume& volume, const std::string& kind, const std::string& group) {
  AuditLog(audit_log_of(session.options), "protector")
      .record({.action = action,
               .outcome = outcome,
               .volume = volume.path().native(),
               .luks_uuid = volume.uuid(),
               .group = group,
               .detail = {{"kind", kind}}});
}

}  // namespace volseal
