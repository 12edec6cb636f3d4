#include "cli/recover_tpm.h"

#include "cli/attempt.h"
#include "cli/group_tokens.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/lock/record.h"
#include "tpm/approval.h"
#include "tpm/connection.h"
#include "tpm/lock_down.h"
#include "tpm/state.h"

#include <fmt/format.h>

#include <utility>

namespace volseal {

bool TpmRecovery::agrees(const std::string& question) const {
  return yes_ || (can_ask() && confirm(question));
}

void TpmRecovery::put_right(Volume& volume, const Attempt& refused, const Secret& passphrase) {
  const std::string& group = refused.group;
  const std::string name = escaped(volume.path().native());
  try {
    switch (refused.outcome) {
      case Outcome::policy_mismatch: return approve(volume, group);
      case Outcome::revoked: return sync(volume, group);
      case Outcome::not_mine:
      case Outcome::damaged:
      case Outcome::wrong_secret: return enroll_anew(volume, group, passphrase);
      case Outcome::opened:
      case Outcome::needs_pin:
      case Outcome::wrong_pin:
      case Outcome::locked_out:
      case Outcome::forged:
      case Outcome::tampered:
      case Outcome::unavailable:
      case Outcome::no_key:
      case Outcome::pulled_out:
      case Outcome::no_touch:
      case Outcome::no_pin:
      case Outcome::pin_blocked:
        print_err("volseal: the TPM of {} is left as it is: {}\n", name, hint_for(refused.outcome));
        return;
    }
  } catch (const Error& error) {
    // The volume is open; what follows can be done later.
    print_err("volseal: the TPM does not open {} yet: {}\n", name, on_one_line(error.what()));
  }
}

void TpmRecovery::open_again(Volume& volume, const LockNote& note, const Secret& passphrase) {
  const std::string name = escaped(volume.path().native());
  if (!agrees(fmt::format("{}. Is what was wrong put right? Then the TPM opens {} again",
                          escaped(to_text(note), 800), name))) {
    print_err("volseal: group {} stays locked; 'volseal recover' opens it again later\n",
              escaped(note.group));
    return;
  }
  try {
    lift(volume, note, passphrase);
  } catch (const Error& error) {
    // The volume is open; the lock stays until this can be done.
    print_err("volseal: group {} stays locked: {}\n", escaped(note.group),
              on_one_line(error.what()));
  }
}

// Nothing that was sealed, approved or copied before the lock counts any more.
void TpmRecovery::begin_group_anew(const std::string& group) {
  auto record = load_lock(options_.state, group);
  if (!record) return;
  // Two factors have been shown: from here on the group may be opened, and is a new one.
  record->lifting = true;
  save_lock(options_.state, *record);
  const tpm::GroupState state(options_.state, group);
  tpm::Connection connection = tpm::Connection::connect(options_.tcti);
  const Path aside = tpm::begin_anew(connection, state, record->sealed_sha256);
  if (!aside.empty())
    log::note("group {} begins anew; what there was is in {}", escaped(group), aside.native());
}

void TpmRecovery::lift(Volume& volume, const LockNote& note, const Secret& passphrase) {
  const AuditLog audit(audit_log_of(options_), "recover");
  const auto event = [&](std::string_view outcome) {
    return Event{.action = "lock.lift",
                 .outcome = std::string(outcome),
                 .volume = volume.path().native(),
                 .luks_uuid = volume.uuid(),
                 .group = note.group,
                 .detail = {{"locked", note.since}, {"by", note.by}, {"reason", note.reason}}};
  };
  audit.record(event(audit_started));
  begin_group_anew(note.group);
  const GroupMaterial material = groups_.open(note.group);
  // A lock that was cut off may have left them.
  if (const auto old = find_group_token(volume)) {
    for (const int slot : old->token.keyslots) remove_protector(volume, slot);
  }
  add_group_protector(volume, &passphrase, note.group, material, "full");
  for (const VolumeToken& token : volume.tokens()) {
    if (token.type == LockNote::type) volume.remove_token(token.id);
  }
  prove_group_protector(volume.path(), groups_.protector());
  remove_lock(options_.state, note.group);
  audit.record(event("ok"));
  print_err("volseal: the TPM opens {} again, and group {} is locked no more\n",
            escaped(volume.path().native()), escaped(note.group));
}

void TpmRecovery::approve(const Volume& volume, const std::string& group) {
  if (!approved_.contains(group)) {
    const std::string question = fmt::format(
        "The measurements of this boot are not approved for {} ('volseal tpm explain' says "
        "what changed). If the change is yours: approve them?",
        named_group(options_, group));
    if (!agrees(question)) {
      print_err("volseal: nothing was approved; 'volseal tpm approve' does it later\n");
      return;
    }
    if (!approve_boot(options_, group, {volume.path()}, {})) return;
    approved_.insert(group);
  }
  say_whether_it_opens(volume);
}

void TpmRecovery::sync(const Volume& volume, const std::string& group) {
  const auto sealed = tpm::GroupState(options_.state, group).sealed();
  if (!sealed || !sync_group(group, {volume.path()}, *sealed)) return;
  say_whether_it_opens(volume);
}

void TpmRecovery::enroll_anew(Volume& volume, const std::string& group, const Secret& passphrase) {
  const std::string name = escaped(volume.path().native());
  if (!agrees(
          fmt::format("This TPM cannot open {}: it was replaced or cleared, or the volume comes "
                      "from another machine. Enroll this TPM?",
                      name))) {
    print_err("volseal: this TPM was not enrolled; 'volseal protector add tpm {}' does it later\n",
              name);
    return;
  }
  const tpm::GroupState state(options_.state, group);
  if (state.sealed()) {
    tpm::Connection connection = tpm::Connection::connect(options_.tcti);
    // What another TPM had sealed for this group opens nothing here.
    if (!tpm::group_status(connection, state).our_tpm) {
      log::note("group {} begins anew; what there was is in {}", escaped(group),
                state.set_aside().native());
    }
  }
  const GroupMaterial material = groups_.open(group);
  // Other ways in are there: one of them has just opened it.
  if (const auto old = find_group_token(volume)) {
    for (const int slot : old->token.keyslots) remove_protector(volume, slot);
  }
  const AuditLog audit(audit_log_of(options_), "recover");
  const auto event = [&](std::string_view outcome) {
    return Event{.action = "protector.add",
                 .outcome = std::string(outcome),
                 .volume = volume.path().native(),
                 .luks_uuid = volume.uuid(),
                 .group = group,
                 .detail = {{"kind", "tpm"}}};
  };
  audit.record(event(audit_started));
  add_group_protector(volume, &passphrase, group, material, "full");
  prove_group_protector(volume.path(), groups_.protector());
  audit.record(event("ok"));
  print_err("volseal: this TPM opens {} from now on\n", name);
}

void TpmRecovery::say_whether_it_opens(const Volume& volume) {
  // The token as it is now.
  const auto found = find_group_token(Volume::load(volume.path()));
  const bool opens =
      found && groups_.protector().recover(found->token.sealed, groups_.ask_pin()).outcome ==
                   Outcome::opened;
  print_err("volseal: the TPM {} {}\n",
            opens ? "opens again:" : "does not open yet:", escaped(volume.path().native()));
}

}  // namespace volseal
