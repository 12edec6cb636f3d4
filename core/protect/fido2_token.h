// The LUKS2 token "systemd-fido2", in the format of systemd-cryptenroll, so that any system with
// systemd 248 or later opens the volume (interop.md; systemd's src/cryptsetup/cryptsetup-tokens).
// The keyslot's passphrase is the base64 text of what the key computes from the salt (CTAP 2.1
// section 12.5, hmac-secret).
#pragma once

#include "core/base/base64.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct Fido2Token {
  static constexpr const char* type = "systemd-fido2";
  static constexpr std::size_t salt_size = 32;

  std::vector<int> keyslots;
  Bytes credential;  // its id: the key finds or derives the secret by it
  Bytes salt;        // 32 bytes
  std::string rp = "io.systemd.cryptsetup";
  // Nothing, as systemd 248 wrote it: only where the key asks for it.
  std::optional<bool> pin;
  std::optional<bool> touch;
  std::optional<bool> uv;  // by the key itself, such as a fingerprint

  // Who holds the key must know or be something as well.
  bool is_two_factors() const { return touch == true && verifies(); }
  // The person is verified, which makes it another secret.
  bool verifies() const { return pin == true || uv == true; }
  // The same credential and salt: the same secret.
  bool same_secret(const Fido2Token& other) const {
    return rp == other.rp && credential == other.credential && salt == other.salt &&
           verifies() == other.verifies();
  }
};

// Hostile input: at most 12 KiB of text, every member of the right type and size, none twice.
// Members that later versions of systemd may add are passed over. Throws Error{damaged}.
Fido2Token parse_fido2_token(std::string_view json);
// Every member, in systemd's order.
std::string to_json(const Fido2Token& token);

}  // namespace volseal
