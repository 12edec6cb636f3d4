// DSSE, the Dead Simple Signing Envelope 1.0.2, with one kind of signature: ECDSA P-256 over
// SHA-256, DER. `openssl dgst -sha256 -verify KEY -signature SIG PAE` checks the same.
#pragma once

#include "core/base/base64.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

inline constexpr std::size_t largest_evidence = 256U << 20U;

struct Envelope {
  std::string payload_type;
  std::string payload;
  struct Signature {
    std::string keyid;  // a hint, unauthenticated; may be empty
    Bytes bytes;
  };
  std::vector<Signature> signatures;  // 1 to 8
};

// What is signed: PAE(type, payload).
std::string signed_bytes(std::string_view payload_type, std::string_view payload);

std::string to_json(const Envelope& envelope);
// Strict and bounded: throws Error{bad_evidence}.
Envelope parse_envelope(std::string_view text);

// A public key in PEM, P-256 and nothing else. Throws Error{bad_key}.
class EvidenceKey {
 public:
  static EvidenceKey from_pem(std::string_view pem, std::string_view source);
  // x ‖ y, 64 bytes, as a TPM gives it.
  static EvidenceKey from_point(const Bytes& point);

  std::string pem() const;
  // SHA-256 of the key (SubjectPublicKeyInfo), hexadecimal.
  std::string id() const;
  bool signed_this(std::span<const std::uint8_t> message, const Bytes& signature) const;

 private:
  explicit EvidenceKey(Bytes info) : info_(std::move(info)) {}

  Bytes info_;  // SubjectPublicKeyInfo, DER
};

Bytes sha256_of(std::string_view text);

}  // namespace volseal
