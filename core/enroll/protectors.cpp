#include "core/enroll/protectors.h"

#include "core/base/error.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/unlocker.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t binding_size = 32;

int add_keyslot(Volume& volume, const Secret* existing, const Secret& added, Stretch stretch) {
  return existing == nullptr ? volume.add_first_keyslot(added, stretch)
                             : volume.add_keyslot(*existing, added, stretch);
}

// The TPM protector knows the keyslots that were meant to be there: one more is reported at each
// boot. So is one that took the number of a keyslot that is gone.
void note_keyslot(Volume& volume, int slot, bool there) {
  std::optional<FoundGroupToken> found;
  try {
    found = find_group_token(volume);
  } catch (const Error&) {
    return;  // a damaged token takes no other way in along with it
  }
  if (!found) return;
  std::vector<int>& known = found->token.known_keyslots;
  const bool knows = std::ranges::find(known, slot) != known.end();
  if (knows == there) return;
  if (there) {
    known.push_back(slot);
    std::ranges::sort(known);
  } else {
    std::erase(known, slot);
  }
  volume.set_token(to_json(found->token), found->id);
}

// `rest` may throw; then the keyslot is taken back, unless it is the only one.
template <typename F>
int with_keyslot(Volume& volume, int slot, const Secret& secret, F rest) {
  try {
    rest();
    if (volume.opens_with(secret, slot) != slot) {
      throw Error(Code::internal, "prove keyslot {} of {}: it does not open", slot,
                  volume.path().native());
    }
    know_keyslot(volume, slot);
  } catch (...) {
    if (volume.keyslots().size() > 1) volume.remove_keyslot(slot);
    throw;
  }
  return slot;
}

GroupToken bound_token(const Volume& volume, const GroupMaterial& material, GroupToken token,
                       const std::string& scope) {
  token.binding_scope = scope;
  token.binding = binding_mac(material.secret, volume.binding_text(scope));
  token.known_keyslots = volume.keyslots();
  token.sealed = material.sealed;
  return token;
}

struct Begun {
  int id = 0;
  GroupToken token;
};

// The group whose secret opens a keyslot by that token; "" for none. A damaged one opens nothing.
std::string opening_group(const VolumeToken& token) {
  try {
    if (token.type == "volseal-tpm2") {
      const GroupToken whole = parse_group_token(token.json);
      return whole.keyslots.empty() ? "" : whole.group;
    }
    if (token.type == AllOfToken::type) {
      const AllOfToken parts = parse_all_of_token(token.json);
      return parts.keyslots.empty() || !parts.tpm ? "" : parts.tpm->group;
    }
  } catch (const Error&) {
    return "";
  }
  return "";
}

// A volume that the secrets of two groups open belongs to neither.
void refuse_other_group(const Volume& volume, const std::string& group) {
  for (const VolumeToken& token : volume.tokens()) {
    const std::string other = opening_group(token);
    if (other.empty() || other == group) continue;
    throw Error(Code::unsafe,
                "add the secret of group {} to {}: that of group {} opens it, and a volume is in "
                "one group; remove that protector first",
                group, volume.path().native(), other);
  }
}

// A token that names no keyslot yet, with the salt that the keyslot's passphrase will come from:
// the one that a power cut left, or a new one.
Begun begin_group_token(Volume& volume, const std::string& group, const GroupMaterial& material,
                        const std::string& binding_scope) {
  refuse_other_group(volume, group);
  if (auto found = find_group_token(volume)) {
    if (!found->token.keyslots.empty()) {
      throw Error(Code::usage, "add the TPM to {}: it has a TPM protector; remove that one first",
                  volume.path().native());
    }
    if (found->token.group == group) return {.id = found->id, .token = std::move(found->token)};
    // Begun for another group: it opens nothing, and what its salt would tell is not ours to know.
    volume.remove_token(found->id);
  }
  GroupToken token;
  token.group = group;
  const Secret salt = Secret::random(32);
  token.salt.assign(salt.bytes().begin(), salt.bytes().end());
  if (volume.keyslots().empty()) {
    // A header in the making: there is no volume key's digest to bind to before the first keyslot.
    token.binding_scope = binding_scope;
    token.binding.assign(binding_size, 0);
    token.sealed = material.sealed;
  } else {
    token = bound_token(volume, material, std::move(token), binding_scope);
  }
  const int id = volume.set_token(to_json(token));
  return {.id = id, .token = std::move(token)};
}

// The keyslot that no token names and that opens with `passphrase`: written before the power went,
// and ours by that proof alone. No other keyslot is ever taken for it.
std::optional<int> unnamed_keyslot(const Volume& volume, const Secret& passphrase) {
  std::vector<std::string> named;
  for (const VolumeToken& token : volume.tokens()) {
    const auto json = nlohmann::json::parse(token.json, nullptr, false);
    if (!json.is_object() || !json.contains("keyslots")) continue;
    for (const auto& slot : json["keyslots"]) {
      if (slot.is_string()) named.push_back(slot.get<std::string>());
    }
  }
  for (const int slot : volume.keyslots()) {
    if (std::ranges::find(named, std::to_string(slot)) != named.end()) continue;
    if (volume.opens_with(passphrase, slot) == slot) return slot;
  }
  return std::nullopt;
}

}  // namespace

void know_keyslot(Volume& volume, int slot) {
  note_keyslot(volume, slot, true);
}

int add_recovery_key(Volume& volume, const Secret* existing, const Secret& key) {
  const int slot = add_keyslot(volume, existing, key, Stretch::none);
  return with_keyslot(volume, slot, key, [&] { volume.set_token(recovery_token_json(slot)); });
}

int add_passphrase(Volume& volume, const Secret* existing, const Secret& passphrase) {
  const int slot = add_keyslot(volume, existing, passphrase, Stretch::argon2id);
  return with_keyslot(volume, slot, passphrase, [] {});
}

int add_fido2(Volume& volume, const Secret* existing, Fido2Token token, const Secret& passphrase) {
  const int slot = add_keyslot(volume, existing, passphrase, Stretch::none);
  token.keyslots = {slot};
  return with_keyslot(volume, slot, passphrase, [&] { volume.set_token(to_json(token)); });
}

int add_all_of(Volume& volume, const Secret* existing, AllOfToken token, const Secret& passphrase) {
  // Who has all other parts could guess what a person types.
  if (token.tpm) refuse_other_group(volume, token.tpm->group);
  const Stretch stretch = token.passphrase ? Stretch::argon2id : Stretch::none;
  const int slot = add_keyslot(volume, existing, passphrase, stretch);
  token.keyslots = {slot};
  return with_keyslot(volume, slot, passphrase, [&] { volume.set_token(to_json(token)); });
}

int add_group_protector(Volume& volume, const Secret* existing, const std::string& group,
                        const GroupMaterial& material, const std::string& binding_scope) {
  Begun begun = begin_group_token(volume, group, material, binding_scope);
  const Secret passphrase = group_passphrase(volume, begun.token, material.secret);
  int slot = -1;
  try {
    const auto left_behind = unnamed_keyslot(volume, passphrase);
    slot = left_behind ? *left_behind : add_keyslot(volume, existing, passphrase, Stretch::none);
  } catch (...) {
    volume.remove_token(begun.id);
    throw;
  }
  begun.token.keyslots = {slot};
  return with_keyslot(volume, slot, passphrase, [&] {
    try {
      volume.set_token(
          to_json(bound_token(volume, material, std::move(begun.token), binding_scope)), begun.id);
    } catch (...) {
      volume.remove_token(begun.id);
      throw;
    }
  });
}

void bind_fully(Volume& volume, const GroupMaterial& material) {
  auto found = find_group_token(volume);
  if (!found) return;
  volume.set_token(to_json(bound_token(volume, material, std::move(found->token), "full")),
                   found->id);
}

void prove_group_protector(const Path& device, GroupProtector& protector) {
  Unlocker unlocker(protector, {});
  const Attempt attempt = unlocker.by_group({.device = device, .mapping = ""});
  switch (attempt.outcome) {
    case Outcome::opened: return;
    case Outcome::tampered:
    case Outcome::forged:
      throw Error(Code::tampered, "prove the TPM protector of {}: {}", device.native(),
                  attempt.reason);
    case Outcome::wrong_secret:
      throw Error(Code::wrong_secret, "prove the TPM protector of {}: {}", device.native(),
                  attempt.reason);
    case Outcome::damaged:
      throw Error(Code::damaged, "prove the TPM protector of {}: {}", device.native(),
                  attempt.reason);
    case Outcome::unavailable:
      throw Error(Code::no_tpm, "prove the TPM protector of {}: {}", device.native(),
                  attempt.reason);
    case Outcome::needs_pin:
    case Outcome::wrong_pin:
    case Outcome::locked_out:
    case Outcome::policy_mismatch:
    case Outcome::revoked:
    case Outcome::not_mine:
    case Outcome::no_key:
    case Outcome::pulled_out:
    case Outcome::no_touch:
    case Outcome::no_pin:
    case Outcome::pin_blocked:
      throw Error(Code::tpm_refused, "prove the TPM protector of {}: {}", device.native(),
                  attempt.reason);
  }
}

void forget_stale_escrows(Volume& volume) {
  const std::vector<int> slots = volume.keyslots();
  for (const VolumeToken& token : volume.tokens()) {
    if (token.type != escrow_token_type) continue;
    const auto json = nlohmann::json::parse(token.json, nullptr, false);
    const bool good =
        json.is_object() && std::ranges::any_of(slots, [&](int slot) {
          return json.value("keyslot", nlohmann::json()) == std::to_string(slot) &&
                 json.value("keyslot-salt", nlohmann::json()) == volume.keyslot_salt(slot);
        });
    if (!good) volume.remove_token(token.id);
  }
}

int note_escrow(Volume& volume, int slot, const EscrowReceipt& receipt) {
  forget_stale_escrows(volume);
  return volume.set_token(escrow_token_json(receipt, slot, volume.keyslot_salt(slot)));
}

void remove_protector(Volume& volume, int keyslot) {
  const std::vector<int> slots = volume.keyslots();
  if (std::ranges::find(slots, keyslot) == slots.end()) {
    throw Error(Code::not_found, "remove keyslot {} of {}: it has no such keyslot", keyslot,
                volume.path().native());
  }
  if (slots.size() == 1) {
    throw Error(Code::unsafe,
                "remove keyslot {} of {}: it is the last one, nothing would open the volume",
                keyslot, volume.path().native());
  }
  // The keyslot first: a token without its keyslot opens nothing and is harmless after a cut.
  volume.remove_keyslot(keyslot);
  note_keyslot(volume, keyslot, false);
  for (const VolumeToken& token : volume.tokens()) {
    auto json = nlohmann::ordered_json::parse(token.json, nullptr, false);
    if (!json.is_object() || !json.contains("keyslots")) continue;
    // libcryptsetup has taken the keyslot off every token; one that has none left is of no use.
    // An escrow names its keyslot in another way, and is looked at below.
    if (json["keyslots"].empty() && token.type != escrow_token_type) volume.remove_token(token.id);
  }
  forget_stale_escrows(volume);
}

}  // namespace volseal
