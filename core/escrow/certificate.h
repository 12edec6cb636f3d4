// The X.509 certificate of somebody who keeps a recovery key, checked before it is trusted with
// one.
//
// That it is in the policy is what vouches for it: no chain is followed and no revocation list is
// read. The file must not be writable by others than root.
#pragma once

#include "core/base/base64.h"
#include "core/base/file.h"

#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

namespace volseal::escrow {

struct Certificate {
  Path file;
  Bytes der;
  std::string fingerprint;  // SHA-256 of the DER form, hexadecimal
  std::string key_digest;   // SHA-256 of the public key, hexadecimal
  std::string subject;      // one line, UTF-8; not escaped
  std::string key;          // "RSA 3072", "EC prime256v1"
  std::string not_after;    // "YYYY-MM-DD"
  // What does not keep a key from being given to it: a weak signature, an end that is near.
  std::vector<std::string> warnings;
};

// BSI TR-02102-1 asks for 3000 bits of RSA (3072 is what is made) and 250 of elliptic curves.
constexpr int least_rsa_bits = 3072;

// PEM or DER, at most 64 KiB, one certificate. Throws Error{escrow_refused} with what is wrong: no
// certificate, not valid now, the wrong usage, a CA's, a weak key; Error by errno.
Certificate read_certificate(const Path& file, std::time_t now);

// Each once, and each of another key. Throws as above.
std::vector<Certificate> read_certificates(const std::vector<Path>& files, std::time_t now);

}  // namespace volseal::escrow
