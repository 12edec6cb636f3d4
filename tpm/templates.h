// The public areas that volseal makes or expects; for tpm/*.cpp.
#pragma once

#include "core/base/base64.h"

#include <tss2/tss2_tpm2_types.h>

#include <cstdint>

namespace volseal::tpm {

constexpr TPM2_HANDLE srk_handle = 0x81000001;  // TCG Provisioning Guidance 7.8

// The storage root key as the TCG Provisioning Guidance makes it, ECC P-256.
TPM2B_PUBLIC srk_template();
// A P-256 key (x ‖ y) that verifies approvals.
TPM2B_PUBLIC verification_key(const Bytes& key);
// The revocation counter: anybody may compare with it, the owner counts it up.
TPM2B_NV_PUBLIC counter_template(std::uint32_t index, bool written);

// What holds the audit log's newest checkpoint: read and written by its auth value alone.
TPM2B_NV_PUBLIC anchor_template(std::uint32_t index, std::uint16_t size, bool written);

struct SealedTemplate {
  Bytes auth_policy;
  bool by_auth = false;    // opens by its auth value alone: the late copy
  bool guessable = false;  // its auth value is a PIN: under dictionary-attack protection
};
TPM2B_PUBLIC sealed_template(const SealedTemplate& choice);

// TPM2B_PUBLIC as bytes and back; strict: throws Error{damaged} where anything is left over.
Bytes marshalled(const TPM2B_PUBLIC& value);
TPM2B_PUBLIC unmarshalled_public(const Bytes& bytes);
// nameAlg ‖ H(public area), Part 1, chapter 16.
Bytes name_of(const TPM2B_PUBLIC& value);
Bytes name_of(const TPM2B_NV_PUBLIC& value);

}  // namespace volseal::tpm
