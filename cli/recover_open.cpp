#include "cli/recover_open.h"

#include "cli/prompt.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/protect/recovery_key.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

namespace volseal {

namespace {

bool names_slot(const std::vector<int>& keyslots, int slot) {
  return std::ranges::find(keyslots, slot) != keyslots.end();
}

void end(OpenedBy& opened, Outcome outcome, std::string reason) {
  opened.attempt.outcome = outcome;
  opened.attempt.reason = std::move(reason);
}

// The keyslot opens with what was gathered, or `otherwise`.
void try_keyslot(OpenedBy& opened, const Volume& volume, int slot, const std::string& otherwise) {
  opened.attempt.keyslot = volume.opens_with(opened.passphrase, slot);
  if (opened.attempt.keyslot) {
    end(opened, Outcome::opened, "");
  } else {
    end(opened, Outcome::wrong_secret, otherwise);
  }
}

}  // namespace

bool OpenedBy::used_recovery_key() const {
  return opened() && (attempt.protector == "recovery-key" || (parts && parts->recovery_key));
}

RecoverOpener::RecoverOpener(const Brought& brought, Groups& groups)
    : brought_(brought),
      unlocker_(groups.protector(), groups.ask_pin()),
      keys_(person_at_terminal(brought.pin_file)),
      parts_(keys_, [this](const std::string& prompt) { return ask(prompt); }) {}

std::optional<Secret> RecoverOpener::ask(const std::string& prompt) const {
  if (brought_.key_file) return read_secret(*brought_.key_file);
  return ask_secret(prompt);
}

OpenedBy RecoverOpener::open(const Volume& volume, const Way& way) {
  OpenedBy opened;
  opened.attempt = {.device = volume.path(),
                    .mapping = "",
                    .luks_uuid = volume.uuid(),
                    .group = "",
                    .protector = way.kind};
  volume.refuse_unsafe();
  const auto start = std::chrono::steady_clock::now();
  if (way.kind == "fido2") {
    by_fido2(opened, volume, way);
  } else if (parse_parts(way.kind)) {
    by_parts(opened, volume, way);
  } else if (way.asks) {
    by_typing(opened, volume, way);
  } else {
    end(opened, Outcome::unavailable, "nobody can be asked for it");
  }
  opened.attempt.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start);
  return opened;
}

void RecoverOpener::by_fido2(OpenedBy& opened, const Volume& volume, const Way& way) {
  std::vector<Fido2Token> tokens = find_fido2_tokens(volume);
  std::erase_if(tokens,
                [&](const Fido2Token& token) { return !names_slot(token.keyslots, way.keyslot); });
  if (tokens.empty()) return end(opened, Outcome::damaged, "its token cannot be read");
  Fido2Answer answer = keys_.open(tokens);
  if (answer.outcome != Outcome::opened) return end(opened, answer.outcome, answer.reason);
  opened.passphrase = std::move(answer.passphrase);
  try_keyslot(opened, volume, way.keyslot,
              "the keyslot does not open with what the FIDO2 key computes");
}

void RecoverOpener::by_parts(OpenedBy& opened, const Volume& volume, const Way& way) {
  for (const AllOfToken& token : find_all_of_tokens(volume)) {
    if (!names_slot(token.keyslots, way.keyslot)) continue;
    Gathered gathered = parts_.gather(
        token, volume,
        [this](const std::string& sealed) -> const GroupKey& { return unlocker_.key_of(sealed); });
    if (gathered.outcome != Outcome::opened) return end(opened, gathered.outcome, gathered.reason);
    opened.passphrase = gathered.passphrase.clone();
    try_keyslot(opened, volume, way.keyslot,
                token.passphrase ? "the passphrase is wrong"
                                 : "all parts are there, and do not open the keyslot");
    if (!opened.opened()) {
      // Asked for anew the next time.
      parts_.forget_guess();
      return;
    }
    parts_.was_right(gathered);
    opened.parts = token;
    opened.secrets = std::move(gathered.secrets);
    return;
  }
  end(opened, Outcome::damaged, "its token cannot be read");
}

void RecoverOpener::by_typing(OpenedBy& opened, const Volume& volume, const Way& way) {
  const bool key = way.kind == "recovery-key";
  std::optional<Secret> typed;
  if (key && !brought_.escrow.blobs.empty()) {
    escrow::Recovered recovered = open_escrow(brought_.escrow);
    if (recovered.luks_uuid != volume.uuid()) {
      throw Error(Code::bad_blob, "open {} by escrow: the key is of the volume {}",
                  volume.path().native(), recovered.luks_uuid);
    }
    typed = std::move(recovered.key);
  } else {
    typed = ask(fmt::format("{} of {}, keyslot {} (empty: another way in)",
                            key ? "Recovery key" : "Passphrase", escaped(volume.path().native()),
                            way.keyslot));
  }
  if (!typed || typed->empty()) return end(opened, Outcome::needs_pin, "nothing was given");
  if (auto normalized = normalized_recovery_key(*typed)) typed = std::move(normalized);
  opened.passphrase = std::move(*typed);
  try_keyslot(opened, volume, way.keyslot,
              fmt::format("keyslot {} does not open with it", way.keyslot));
}

}  // namespace volseal
