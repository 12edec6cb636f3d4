// Sealing secrets into objects under the storage root key, and approving states; for tpm/*.cpp.
#pragma once

#include "core/base/secret.h"
#include "tpm/pcr.h"
#include "tpm/policy_key.h"
#include "tpm/sealed_group.h"
#include "tpm/storage_root.h"
#include "tpm/templates.h"

#include <cstddef>

namespace volseal::tpm {

// Of the auth values of our objects, as large as SHA-256's digest.
inline constexpr std::size_t auth_size = 32;

struct SealedObject {
  Bytes public_area;   // TPM2B_PUBLIC
  Bytes private_area;  // TPM2B_PRIVATE's buffer
};

// Secret and auth value cross the bus encrypted.
SealedObject seal(Connection::Impl& tpm, const StorageRoot& root, const Secret& secret,
                  const Secret& auth, const SealedTemplate& choice);

// The auth value that a PIN comes to.
Secret stretched(const Secret& pin, const PinStretch& stretch);

// Signs what `sealed` now approves and has the TPM confirm the signature once, so that no unlock
// has to: the ticket holds as long as the owner hierarchy, as does the storage root key.
void approve(Connection::Impl& tpm, SealedGroup& sealed, const PolicyKey& key);
// VerifySignature; the TPM's ticket.
Bytes verification_ticket(Connection::Impl& tpm, const SealedGroup& sealed);

PcrState pcr_state(const PcrValues& bound, std::int64_t now);

// The ESYS context keeps the last response and the last sensitive argument; these overwrite them.
void forget_response(Connection::Impl& tpm);
void forget_sensitive(Connection::Impl& tpm);

}  // namespace volseal::tpm
