#include "core/unlock/unlocker.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/protect/fido2.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/all_of.h"
#include "core/unlock/find_lock.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

namespace volseal {

namespace {

using Clock = std::chrono::steady_clock;

// Whoever writes headers writes it, and an initramfs prints it.
constexpr std::size_t longest_note = 800;

// Fills in how an attempt ended and how long it took.
class Watch {
 public:
  explicit Watch(Attempt& attempt) : attempt_(attempt), start_(Clock::now()) {}

  void end(Outcome outcome, std::string reason = {}) const {
    attempt_.outcome = outcome;
    attempt_.reason = std::move(reason);
    attempt_.took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start_);
  }

 private:
  Attempt& attempt_;
  Clock::time_point start_;
};

Outcome outcome_of(const Error& error) {
  return error.code() == Code::tampered ? Outcome::tampered : Outcome::damaged;
}

// False: its header is not to be trusted, and the attempt has ended.
bool is_safe(const Volume& volume, const Watch& watch) {
  try {
    volume.refuse_unsafe();
    return true;
  } catch (const Error& error) {
    if (error.code() != Code::tampered && error.code() != Code::damaged) throw;
    watch.end(outcome_of(error), error.what());
    return false;
  }
}

std::vector<int> strangers(const Volume& volume, const GroupToken& token) {
  std::vector<int> known = token.known_keyslots;
  std::ranges::sort(known);
  std::vector<int> added;
  std::ranges::set_difference(volume.keyslots(), known, std::back_inserter(added));
  return added;
}

// One keyslot area is read and stretched once: either to see that it opens, or to map the volume.
// Without slots, any may open. Nothing: none does.
std::optional<int> open(Volume& volume, const UnlockTarget& target, const Secret& passphrase,
                        const std::vector<int>& slots) {
  const auto one = [&](std::optional<int> slot) -> std::optional<int> {
    if (target.mapping.empty()) return volume.opens_with(passphrase, slot);
    try {
      return volume.activate(target.mapping, passphrase, target.options, slot);
    } catch (const Error& error) {
      if (error.code() != Code::wrong_secret) throw;
      return std::nullopt;
    }
  };
  if (slots.empty()) return one({});
  for (const int slot : slots) {
    if (const auto opened = one(slot)) return opened;
  }
  return std::nullopt;
}

}  // namespace

namespace {

// A damaged token takes no other way in along with it.
template <typename T>
std::vector<T> tokens_with_keyslots(const Volume& volume, T (*parse)(std::string_view)) {
  std::vector<T> tokens;
  for (const VolumeToken& found : volume.tokens()) {
    if (found.type != T::type) continue;
    try {
      T token = parse(found.json);
      if (!token.keyslots.empty()) tokens.push_back(std::move(token));
    } catch (const Error& error) {
      log::warning("{}: {}", escaped(volume.path().native()), error.what());
    }
  }
  return tokens;
}

}  // namespace

std::vector<Fido2Token> find_fido2_tokens(const Volume& volume) {
  return tokens_with_keyslots(volume, parse_fido2_token);
}

std::vector<AllOfToken> find_all_of_tokens(const Volume& volume) {
  return tokens_with_keyslots(volume, parse_all_of_token);
}

std::optional<FoundGroupToken> find_group_token(const Volume& volume) {
  for (const VolumeToken& token : volume.tokens()) {
    if (token.type == "volseal-tpm2")
      return FoundGroupToken{.id = token.id, .token = parse_group_token(token.json)};
  }
  return std::nullopt;
}

Secret group_passphrase(const Volume& volume, const GroupToken& token, const Secret& group_secret) {
  return keyslot_passphrase(group_secret, volume.uuid(), token.salt);
}

Unlocker::Unlocker(GroupProtector& protector, AskPin ask_pin)
    : protector_(protector), ask_pin_(std::move(ask_pin)) {}

const GroupKey& Unlocker::key_of(const std::string& sealed) {
  auto at = keys_.find(sealed);
  if (at == keys_.end()) at = keys_.emplace(sealed, protector_.recover(sealed, ask_pin_)).first;
  return at->second;
}

CheckedVolume Unlocker::check(const UnlockTarget& target) {
  CheckedVolume checked{
      .target = target,
      .attempt = {.device = target.device, .mapping = target.mapping, .protector = "tpm"}};
  Attempt& attempt = checked.attempt;
  const Watch watch(attempt);
  // One read of the header: what is checked on it is what is activated through it.
  checked.volume = Volume::load(target.device);
  const Volume& volume = *checked.volume;
  attempt.luks_uuid = volume.uuid();
  try {
    volume.refuse_unsafe();
    if (const auto lock = find_lock(volume)) {
      attempt.group = lock->group;
      watch.end(Outcome::revoked, escaped(to_text(*lock), longest_note));
      return checked;
    }
    const auto found = find_group_token(volume);
    if (!found) {
      watch.end(Outcome::unavailable, "the volume has no volseal-tpm2 token");
      return checked;
    }
    const GroupToken& token = found->token;
    attempt.group = token.group;
    checked.group = &key_of(token.sealed);
    if (checked.group->outcome != Outcome::opened) {
      watch.end(checked.group->outcome, checked.group->reason);
      return checked;
    }
    checked.binding_scope = token.binding_scope;
    const Secret& secret = checked.group->secret;
    if (!equal_macs(binding_mac(secret, volume.binding_text(token.binding_scope)), token.binding)) {
      watch.end(
          Outcome::tampered,
          "the header is not the one that was enrolled: its segments, cipher or volume key differ");
      return checked;
    }
    checked.passphrase = group_passphrase(volume, token, secret);
    checked.slots = token.keyslots;
    if (const auto added = strangers(volume, token); !added.empty()) {
      attempt.findings.push_back(
          fmt::format("keyslot {} was added since the enrollment", fmt::join(added, ", ")));
    }
    watch.end(Outcome::opened);
  } catch (const Error& error) {
    if (error.code() != Code::tampered && error.code() != Code::damaged) throw;
    watch.end(outcome_of(error), error.what());
  }
  return checked;
}

Attempt Unlocker::open(CheckedVolume& checked) {
  Attempt attempt = checked.attempt;
  if (!checked.may_open() || !checked.volume) return attempt;
  const Watch watch(attempt);
  try {
    attempt.keyslot =
        volseal::open(*checked.volume, checked.target, checked.passphrase, checked.slots);
    if (attempt.keyslot) {
      watch.end(Outcome::opened);
    } else {
      watch.end(Outcome::wrong_secret,
                "the keyslot of the TPM token does not open with the group's secret");
    }
  } catch (const Error& error) {
    if (error.code() != Code::tampered && error.code() != Code::damaged) throw;
    watch.end(outcome_of(error), error.what());
  }
  attempt.took += checked.attempt.took;
  return attempt;
}

Attempt Unlocker::by_group(const UnlockTarget& target) {
  CheckedVolume checked = check(target);
  return open(checked);
}

namespace {

// systemd-cryptenroll 252 asks a key that makes credentials without its PIN for the secret without
// it too, and writes that the PIN is required: what it enrolled, it cannot open itself.
std::optional<int> open_as_old_systemd(Volume& volume, const UnlockTarget& target, Fido2& keys,
                                       Fido2Token token) {
  token.pin = false;
  token.uv = false;
  const Fido2Answer answer = keys.open(std::vector{token});
  if (answer.outcome != Outcome::opened) return std::nullopt;
  return open(volume, target, answer.passphrase, token.keyslots);
}

}  // namespace

Attempt Unlocker::by_fido2(const UnlockTarget& target, Fido2& keys, std::optional<int> slot) {
  Attempt attempt{.device = target.device, .mapping = target.mapping, .protector = "fido2"};
  const Watch watch(attempt);
  Volume volume = Volume::load(target.device);
  attempt.luks_uuid = volume.uuid();
  if (!is_safe(volume, watch)) return attempt;
  std::vector<Fido2Token> tokens = find_fido2_tokens(volume);
  if (slot) {
    std::erase_if(tokens, [&](const Fido2Token& token) {
      return std::ranges::find(token.keyslots, *slot) == token.keyslots.end();
    });
  }
  if (tokens.empty()) {
    watch.end(Outcome::unavailable, "no FIDO2 key is enrolled in it");
    return attempt;
  }
  const Fido2Answer answer = keys.open(tokens);
  if (answer.outcome != Outcome::opened) {
    watch.end(answer.outcome, answer.reason);
    return attempt;
  }
  const Fido2Token& token = tokens.at(answer.token);
  attempt.keyslot = volseal::open(volume, target, answer.passphrase, token.keyslots);
  if (!attempt.keyslot && token.verifies()) {
    attempt.keyslot = open_as_old_systemd(volume, target, keys, token);
    if (attempt.keyslot) {
      attempt.findings.push_back(fmt::format(
          "keyslot {} opens by a touch alone, without the PIN that its token asks for, as some "
          "releases of systemd-cryptenroll left it; add the key anew, and remove it",
          *attempt.keyslot));
    }
  }
  if (attempt.keyslot) {
    watch.end(Outcome::opened);
  } else {
    watch.end(Outcome::wrong_secret, "the keyslot does not open with what the FIDO2 key computes");
  }
  return attempt;
}

Attempt Unlocker::by_all_of(const UnlockTarget& target, AllOf& parts, int slot) {
  Attempt attempt{.device = target.device, .mapping = target.mapping, .protector = "all-of"};
  const Watch watch(attempt);
  Volume volume = Volume::load(target.device);
  attempt.luks_uuid = volume.uuid();
  if (!is_safe(volume, watch)) return attempt;
  const std::vector<AllOfToken> tokens = find_all_of_tokens(volume);
  const auto token = std::ranges::find_if(tokens, [&](const AllOfToken& one) {
    return std::ranges::find(one.keyslots, slot) != one.keyslots.end();
  });
  if (token == tokens.end()) {
    watch.end(Outcome::unavailable, fmt::format("keyslot {} takes no parts", slot));
    return attempt;
  }
  attempt.protector = token->name();
  const AllOf::KeyOf key_of = [this](const std::string& sealed) -> const GroupKey& {
    return this->key_of(sealed);
  };
  for (;;) {
    const Gathered gathered = parts.gather(*token, volume, key_of);
    if (gathered.outcome != Outcome::opened) {
      watch.end(gathered.outcome, gathered.reason);
      return attempt;
    }
    attempt.keyslot = volseal::open(volume, target, gathered.passphrase, {slot});
    if (attempt.keyslot) {
      parts.was_right(gathered);
      watch.end(Outcome::opened);
      return attempt;
    }
    // What opened another volume is tried without asking; then the person is asked.
    if (parts.forget_guess()) continue;
    watch.end(Outcome::wrong_secret, token->passphrase
                                         ? "the passphrase is wrong"
                                         : "all parts are there, and do not open the keyslot");
    return attempt;
  }
}

Attempt Unlocker::by_secret(const UnlockTarget& target, const Secret& secret,
                            std::optional<int> slot) {
  Attempt attempt{.device = target.device, .mapping = target.mapping, .protector = "passphrase"};
  const Watch watch(attempt);
  Volume volume = Volume::load(target.device);
  attempt.luks_uuid = volume.uuid();
  if (!is_safe(volume, watch)) return attempt;
  // A recovery key typed without dashes or in capitals is still the recovery key.
  std::optional<Secret> recovery = normalized_recovery_key(secret);
  if (recovery) attempt.protector = "recovery-key";
  const Secret& given = recovery ? *recovery : secret;
  attempt.keyslot =
      volseal::open(volume, target, given, slot ? std::vector{*slot} : std::vector<int>{});
  if (attempt.keyslot) {
    watch.end(Outcome::opened);
  } else {
    watch.end(Outcome::wrong_secret, slot ? fmt::format("keyslot {} does not open with it", *slot)
                                          : "no keyslot opens with it");
  }
  return attempt;
}

}  // namespace volseal
