// The attestation key, and quotes of PCRs by it: Part 1, 31; Part 3, 18.4.
//
// A restricted signing key under the storage root key. It signs what the TPM itself says (quotes)
// and what the TPM itself has hashed and seen not to look like that, so no quote can be forged with
// it. It lives in the TPM alone: what is kept in the state folder is of use to this TPM only.
#pragma once

#include "core/base/base64.h"
#include "core/base/file.h"
#include "tpm/connection.h"
#include "tpm/pcr.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::tpm {

struct Quote {
  Bytes attest;     // TPMS_ATTEST
  Bytes signature;  // ECDSA over SHA-256, DER
};

class AttestationKey {
 public:
  // Made where STATE/attestation/key.json is missing. Throws Error{tpm_refused} where the file is
  // of another TPM, Error{damaged} where it is none.
  static AttestationKey open_or_make(Connection& tpm, const Path& state);

  const Bytes& public_point() const { return public_point_; }  // x ‖ y, 64 bytes
  // `qualifying`: at most 64 bytes.
  Quote quote(Connection& tpm, const Bytes& qualifying, std::string_view bank,
              const std::vector<int>& pcrs) const;
  // Hashed by the TPM, 1 KiB a command; ECDSA, DER.
  Bytes sign(Connection& tpm, std::string_view message) const;

 private:
  Bytes srk_;
  Bytes public_area_;
  Bytes private_area_;
  Bytes public_point_;
};

struct QuoteFacts {
  Bytes qualifying;
  std::string bank;
  std::vector<int> pcrs;       // ascending
  Bytes pcr_digest;            // SHA-256 over their values
  std::uint64_t clock_ms = 0;  // of the TPM's whole life, in which it had power
  // For a key outside of the endorsement hierarchy the TPM adds to these three what only it knows,
  // the same in each quote. So they are compared with those of another quote.
  std::uint32_t resets = 0;
  std::uint32_t restarts = 0;
  std::uint64_t firmware = 0;
};

// TPMS_ATTEST of a quote (Part 2, 10.12.8). No TPM needed; the signature is not looked at. Strict:
// throws Error{bad_evidence} for anything else, and where bytes are left over.
QuoteFacts parse_quote(std::span<const std::uint8_t> attest);

}  // namespace volseal::tpm
