// CMS AuthEnvelopedData with AES-256-GCM (RFC 5083, 5084; RFC 5652 for the rest), in PEM.
//
// RSA recipients by RSAES-OAEP with SHA-256 (RFC 4055), EC recipients by ephemeral-static ECDH with
// the X9.63 KDF and SHA-256, AES-256 key wrap (RFC 5753). 'openssl cms -decrypt' opens it. Nothing
// signs it: whoever has the certificate can make one, so what is in it counts only once it has
// opened the volume.
#pragma once

#include "core/base/secret.h"
#include "core/escrow/certificate.h"
#include "core/escrow/private_key.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::escrow {

constexpr std::size_t largest_blob = 256U << 10U;

// Any one of the recipients opens it.
std::string seal(const Secret& content, const std::vector<const Certificate*>& recipients);

class Blob {
 public:
  // PEM or DER; Error{bad_blob} for what is no such CMS object, is larger than largest_blob, or has
  // more than 64 recipients.
  explicit Blob(std::string bytes);

  // Whom it is for: serial number and issuer of each certificate.
  const std::vector<std::string>& recipients() const { return recipients_; }
  // What is in it; nothing where the key is not that of a recipient, or the blob was changed.
  std::optional<Secret> open(const PrivateKey& key) const;

 private:
  std::string bytes_;
  std::vector<std::string> recipients_;
};

}  // namespace volseal::escrow
