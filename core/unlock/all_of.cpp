#include "core/unlock/all_of.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/protect/recovery_key.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace volseal {

namespace {

std::string asking_for(std::string_view what, const AllOfToken& token, const Volume& volume) {
  return fmt::format("{} of {}, part of {} (empty: another way in)", what,
                     escaped(volume.path().native()), token.name());
}

}  // namespace

AllOf::Given AllOf::recovery_key(const AllOfToken& token, const Bytes& check,
                                 const Volume& volume) const {
  const auto is_right = [&](const Secret& key) {
    return equal_macs(recovery_key_check(token, key, volume.uuid()), check);
  };
  if (!recovery_key_.empty() && is_right(recovery_key_))
    return {.outcome = Outcome::opened, .reason = "", .secret = recovery_key_.clone()};
  const auto typed = ask_ ? ask_(asking_for("Recovery key", token, volume)) : std::nullopt;
  if (!typed || typed->empty())
    return {.outcome = Outcome::needs_pin, .reason = "no recovery key was given", .secret = {}};
  auto key = normalized_recovery_key(*typed);
  if (!key) {
    return {.outcome = Outcome::wrong_secret,
            .reason = "what was given is no recovery key: those have eight groups of eight letters",
            .secret = {}};
  }
  if (!is_right(*key)) {
    return {.outcome = Outcome::wrong_secret,
            .reason = "the recovery key is another one's",
            .secret = {}};
  }
  return {.outcome = Outcome::opened, .reason = "", .secret = std::move(*key)};
}

AllOf::Given AllOf::passphrase(const AllOfToken& token, const Volume& volume) {
  guessed_ = !passphrase_.empty();
  if (guessed_) return {.outcome = Outcome::opened, .reason = "", .secret = passphrase_.clone()};
  auto typed = ask_ ? ask_(asking_for("Passphrase", token, volume)) : std::nullopt;
  if (!typed || typed->empty())
    return {.outcome = Outcome::needs_pin, .reason = "no passphrase was given", .secret = {}};
  return {.outcome = Outcome::opened, .reason = "", .secret = std::move(*typed)};
}

AllOf::Given AllOf::tpm(const AllOfToken::Tpm& part, const Volume& volume, const KeyOf& key_of) {
  const GroupKey& group = key_of(part.sealed);
  if (group.outcome != Outcome::opened)
    return {.outcome = group.outcome, .reason = group.reason, .secret = {}};
  if (!equal_macs(binding_mac(group.secret, volume.binding_text("full")), part.binding)) {
    return {.outcome = Outcome::tampered,
            .reason =
                "the header is not the one that was enrolled: its segments, cipher or volume "
                "key differ",
            .secret = {}};
  }
  return {.outcome = Outcome::opened, .reason = "", .secret = group.secret.clone()};
}

AllOf::Given AllOf::fido2(const Fido2Token& part) {
  Fido2Answer answer = keys_.open(std::vector{part});
  return {.outcome = answer.outcome,
          .reason = std::move(answer.reason),
          .secret = std::move(answer.passphrase)};
}

AllOf::Given AllOf::give(Part part, const AllOfToken& token, const Volume& volume,
                         const KeyOf& key_of) {
  switch (part) {
    case Part::tpm:
      if (token.tpm) return tpm(*token.tpm, volume, key_of);
      break;
    case Part::fido2:
      if (token.fido2) return fido2(*token.fido2);
      break;
    case Part::recovery_key:
      if (token.recovery_key) return recovery_key(token, *token.recovery_key, volume);
      break;
    case Part::passphrase: return passphrase(token, volume);
  }
  return {.outcome = Outcome::damaged, .reason = "its token lacks a part", .secret = {}};
}

Gathered AllOf::gather(const AllOfToken& token, const Volume& volume, const KeyOf& key_of) {
  Gathered gathered;
  guessed_ = false;
  for (const Part part : token.parts()) {
    Given given = give(part, token, volume, key_of);
    if (given.outcome != Outcome::opened) {
      gathered.outcome = given.outcome;
      gathered.reason = std::move(given.reason);
      return gathered;
    }
    gathered.secrets.emplace(part, std::move(given.secret));
  }
  gathered.passphrase = all_of_passphrase(token, gathered.secrets, volume.uuid());
  return gathered;
}

void AllOf::was_right(const Gathered& gathered) {
  if (const auto key = gathered.secrets.find(Part::recovery_key); key != gathered.secrets.end())
    recovery_key_ = key->second.clone();
  if (const auto typed = gathered.secrets.find(Part::passphrase); typed != gathered.secrets.end())
    passphrase_ = typed->second.clone();
}

bool AllOf::forget_guess() {
  if (!guessed_) return false;
  passphrase_ = Secret();
  guessed_ = false;
  return true;
}

}  // namespace volseal
