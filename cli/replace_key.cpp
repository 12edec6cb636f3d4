#include "cli/replace_key.h"

#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/protector.h"
#include "cli/recovery_page.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/enroll/protectors.h"
#include "core/protect/recovery_key.h"

#include <fmt/format.h>

#include <utility>

namespace volseal {

namespace {

std::string other_parts(const AllOfToken& token) {
  std::string others;
  for (const Part part : token.parts()) {
    if (part == Part::recovery_key) continue;
    others += fmt::format("{}{}", others.empty() ? "" : " and ", to_string(part));
  }
  return others;
}

// The same parts, but for the recovery key.
int add_with_new_key(Volume& volume, const OpenedBy& used, const Secret& key) {
  if (!used.parts) return add_recovery_key(volume, &used.passphrase, key);
  AllOfToken token = *used.parts;
  token.keyslots.clear();
  const Secret salt = Secret::random(AllOfToken::salt_size);
  token.salt.assign(salt.bytes().begin(), salt.bytes().end());
  token.recovery_key = recovery_key_check(token, key, volume.uuid());
  PartSecrets secrets;
  for (const auto& [part, secret] : used.secrets)
    secrets.emplace(part, part == Part::recovery_key ? key.clone() : secret.clone());
  return add_all_of(volume, &used.passphrase, token,
                    all_of_passphrase(token, secrets, volume.uuid()));
}

}  // namespace

KeyReplacer::KeyReplacer(const Session& session, const Policy& policy, const NewKeyTo& to)
    : session_(session),
      to_(to),
      audit_(audit_log_of(session.options), "recover"),
      escrows_(policy, audit_, to.escrow_fd),
      replacement_(session.options.state) {}

void KeyReplacer::finish(Volume& volume) {
  const std::string name = escaped(volume.path().native());
  switch (replacement_.finish(volume)) {
    case Replacement::Left::nothing: return;
    case Replacement::Left::begun:
      print_err(
          "volseal: a replacement of the recovery key of {0} was cut off at its beginning; the old "
          "key opens; a keyslot that nobody has a key of may be left: 'volseal protector list "
          "{0}'\n",
          name);
      break;
    case Replacement::Left::taken_back:
      print_err(
          "volseal: a replacement of the recovery key of {} was cut off before the new key was "
          "handed over: the old key opens, a key that was shown then does not\n",
          name);
      break;
    case Replacement::Left::finished:
      print_err(
          "volseal: a replacement of the recovery key of {} was cut off after the new key was "
          "handed over: the new key opens, the old one no longer\n",
          name);
      break;
  }
  record_protector(session_, "recovery-key.replace", "finished", volume, "recovery-key");
}

void KeyReplacer::require_ready(const std::string& group, bool is_part) {
  if (to_.folder) make_folder(*to_.folder);
  if (to_.page.folder) make_folder(*to_.page.folder);
  if (!is_part) escrows_.require_ready(group);
  const bool escrowed = !is_part && escrows_.keeps(group);
  if (!escrowed && !to_.folder && !to_.page.folder && !can_ask()) {
    throw Error(Code::usage,
                "replace a recovery key: nobody is there to take the new one; give "
                "--recovery-key-dir");
  }
}

void KeyReplacer::hand_over(Volume& volume, int slot, const Secret& key, const std::string& group,
                            const std::string& together_with) {
  const std::string path = volume.path().native();
  const std::string uuid = volume.uuid();
  const bool alone = together_with.empty();
  if (alone && escrows_.keeps(group)) {
    note_escrow(volume, slot, escrows_.deposit(group, path, uuid, key));
    if (!escrows_.shows(group)) return;
  }
  if (to_.page.folder) {
    write_recovery_page(
        to_.page,
        {.volume = path, .luks_uuid = uuid, .host = "", .date = "", .together_with = together_with},
        key);
  }
  if (to_.folder) {
    const Path file = *to_.folder / (uuid + ".recovery-key");
    write_secret_file(file, key);
    log::warning("{} has the new recovery key of {}; move it to a safe place off this machine",
                 file.native(), escaped(path));
  }
  if (!to_.page.folder && !to_.folder) hand_over_on_terminal(path, uuid, key, together_with);
}

int KeyReplacer::replace(Volume& volume, const OpenedBy& used, const std::string& group) {
  const bool is_part = used.parts.has_value();
  require_ready(group, is_part);
  const std::string others = is_part ? other_parts(*used.parts) : "";
  const int old = used.attempt.keyslot.value_or(-1);
  record_protector(session_, "recovery-key.replace", std::string(audit_started), volume,
                   used.attempt.protector, group);
  const Secret key = new_recovery_key();
  const int slot = replacement_.carry_out(
      volume, old, [&] { return add_with_new_key(volume, used, key); },
      [&](int fresh) { hand_over(volume, fresh, key, group, others); });
  record_protector(session_, "recovery-key.replace", "ok", volume, used.attempt.protector, group);
  print_err(
      "volseal: keyslot {0} of {1} has the new recovery key, keyslot {2} is gone; header backups "
      "still open with the old one: 'volseal header backup {1}'\n",
      slot, escaped(volume.path().native()), old);
  return slot;
}

}  // namespace volseal
