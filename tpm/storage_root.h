// The storage root key and sessions salted to it; for tpm/*.cpp.
#pragma once

#include "core/base/base64.h"
#include "tpm/esys.h"

namespace volseal::tpm {

struct StorageRoot {
  TpmHandle handle;
  Bytes public_area;  // TPM2B_PUBLIC
};

// The key at 0x81000001, ECC or RSA, checked to be a storage root; where there is none, made from
// the TCG template and made persistent (the only time that volseal calls CreatePrimary for good).
// Throws Error{tpm_refused} where something else is there, or the owner hierarchy has a password.
StorageRoot open_or_make_storage_root(Connection::Impl& tpm);

// The storage root key as it was pinned, without asking the TPM: whatever is at 0x81000001 cannot
// take part in a session salted to this key unless it is this key.
TpmHandle pinned_storage_root(Connection::Impl& tpm, const Bytes& public_area);
// Made anew from the template, not persistent, where that gives the pinned key: somebody has
// evicted it. Takes a slow chip seconds; for when nothing is at 0x81000001. No handle where it
// gives another key.
TpmHandle transient_storage_root(Connection::Impl& tpm, const Bytes& public_area);
// What is at 0x81000001 now; empty where nothing is.
Bytes present_storage_root(Connection::Impl& tpm);

// An NV counter of counter_template(), without asking the TPM.
TpmHandle pinned_counter(Connection::Impl& tpm, std::uint32_t index);

// Salted to the storage root key, AES-128-CFB. `attributes`: which way parameters are encrypted,
// and whether the session lives on.
TpmHandle start_session(Connection::Impl& tpm, const TpmHandle& root, TPM2_SE type,
                        TPMA_SESSION attributes);

}  // namespace volseal::tpm
