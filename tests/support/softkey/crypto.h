// What an authenticator computes, by OpenSSL: P-256 keys, and the two PIN/UV auth protocols
// (CTAP 2.1 sections 6.5.6 and 6.5.7).
#pragma once

#include "core/base/base64.h"
#include "core/base/handle.h"
#include "tests/support/softkey/cbor.h"

#include <openssl/evp.h>

#include <optional>
#include <span>

namespace volseal::test {

using View = std::span<const std::uint8_t>;

Bytes random_bytes(std::size_t size);
Bytes sha256(View data);
Bytes hmac_sha256(View key, View data);

class P256Key {
 public:
  static P256Key generate();
  static P256Key from_der(const Bytes& der);
  Bytes to_der() const;

  // As a COSE_Key (RFC 8152 section 13.1.1): algorithm -7 to sign, -25 to agree on a key.
  cbor::Map cose(int algorithm) const;
  Bytes sign(View data) const;  // ECDSA with SHA-256, DER
  // The x coordinate of the common point; nothing where the peer's is no point of the curve.
  std::optional<Bytes> agree(const cbor::Map& peer) const;

 private:
  explicit P256Key(EVP_PKEY* key) : key_(key) {}
  Handle<EVP_PKEY, EVP_PKEY_free> key_;
};

// What platform and authenticator share, under protocol 1 or 2.
struct SharedSecret {
  int protocol = 1;
  Bytes hmac_key;
  Bytes aes_key;

  static SharedSecret from(int protocol, const Bytes& z);
  Bytes encrypt(View plain) const;
  // Nothing where the size makes no sense.
  std::optional<Bytes> decrypt(View data) const;
  bool verify(View message, View signature) const;
};

// authenticate(key, message) of the protocol, compared.
bool verify(int protocol, View key, View message, View signature);

}  // namespace volseal::test
