#include "core/enroll/protectors.h"

#include "core/base/error.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/unlocker.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

int add_keyslot(Volume& volume, const Secret* existing, const Secret& added, Stretch stretch) {
  return existing == nullptr ? volume.add_first_keyslot(added, stretch)
                             : volume.add_keyslot(*existing, added, stretch);
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

}  // namespace

int add_recovery_key(Volume& volume, const Secret* existing, const Secret& key) {
  const int slot = add_keyslot(volume, existing, key, Stretch::none);
  return with_keyslot(volume, slot, key, [&] { volume.set_token(recovery_token_json(slot)); });
}

int add_passphrase(Volume& volume, const Secret* existing, const Secret& passphrase) {
  const int slot = add_keyslot(volume, existing, passphrase, Stretch::argon2id);
  return with_keyslot(volume, slot, passphrase, [] {});
}

int add_group_protector(Volume& volume, const Secret* existing, const std::string& group,
                        const GroupMaterial& material, const std::string& binding_scope) {
  if (find_group_token(volume)) {
    throw Error(Code::usage, "add the TPM to {}: it has a TPM protector; remove that one first",
                volume.path().native());
  }
  GroupToken token;
  token.group = group;
  const Secret salt = Secret::random(32);
  token.salt.assign(salt.bytes().begin(), salt.bytes().end());
  const Secret passphrase = group_passphrase(volume, token, material.secret);
  const int slot = add_keyslot(volume, existing, passphrase, Stretch::none);
  token.keyslots = {slot};
  return with_keyslot(volume, slot, passphrase, [&] {
    volume.set_token(to_json(bound_token(volume, material, std::move(token), binding_scope)));
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
      throw Error(Code::tpm_refused, "prove the TPM protector of {}: {}", device.native(),
                  attempt.reason);
  }
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
  for (const VolumeToken& token : volume.tokens()) {
    auto json = nlohmann::ordered_json::parse(token.json, nullptr, false);
    if (!json.is_object() || !json.contains("keyslots")) continue;
    // libcryptsetup has taken the keyslot off every token; one that has none left is of no use.
    if (json["keyslots"].empty()) volume.remove_token(token.id);
  }
}

}  // namespace volseal
