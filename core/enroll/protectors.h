// Adding and removing what opens a volume. A protector counts only once it was proven to open.
#pragma once

#include "core/luks/volume.h"
#include "core/protect/all_of_token.h"
#include "core/protect/escrow_token.h"
#include "core/protect/fido2_token.h"
#include "core/protect/group_protector.h"

#include <string>

namespace volseal {

// A group's secret, and how the TPM holds it.
struct GroupMaterial {
  std::string sealed;  // GroupToken::sealed
  Secret secret;
};

// Keyslot first, token second, proof third; a failure takes the keyslot back. A power cut in
// between leaves a keyslot without a token: it shows as "passphrase" and can be removed.
// `existing`: what opens the volume now; nullptr right after Volume::format. Returns the keyslot.
int add_recovery_key(Volume& volume, const Secret* existing, const Secret& key);
int add_passphrase(Volume& volume, const Secret* existing, const Secret& passphrase);
// `token` without keyslots; `passphrase` is what the key computes for it.
int add_fido2(Volume& volume, const Secret* existing, Fido2Token token, const Secret& passphrase);
// `token` without keyslots; `passphrase` is all_of_passphrase() of its parts.
int add_all_of(Volume& volume, const Secret* existing, AllOfToken token, const Secret& passphrase);
// The same with the token first, as yet without a keyslot: with its salt a keyslot that a power cut
// left without a token is known again. The next call for that group takes both over.
int add_group_protector(Volume& volume, const Secret* existing, const std::string& group,
                        const GroupMaterial& material, const std::string& binding_scope);

// Lets the TPM protector, where there is one, know a keyslot that was meant to be added, so that a
// boot does not report it. The functions above do.
void know_keyslot(Volume& volume, int slot);

// Writes the token anew: full binding over the header as it is, all of its keyslots known.
void bind_fully(Volume& volume, const GroupMaterial& material);

// The whole way that a boot takes: header from `device`, unseal, binding, keyslot. Throws
// Error{tpm_refused, tampered, wrong_secret} when it does not open.
void prove_group_protector(const Path& device, GroupProtector& protector);

// Writes into the header who has the key of that keyslot (core/protect/escrow_token.h), instead of
// what it said of a keyslot that is gone. Returns the token's id.
int note_escrow(Volume& volume, int slot, const EscrowReceipt& receipt);

// Removes what the header says of the escrow of keyslots which are gone, or are another key's now.
void forget_stale_escrows(Volume& volume);

// Removes the keyslot and what tokens say of it. Throws Error{unsafe} for the last keyslot.
void remove_protector(Volume& volume, int keyslot);

}  // namespace volseal
