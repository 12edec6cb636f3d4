// SHA-256 (FIPS 180-4) as lowercase hexadecimal. Throws Error{internal} where libcrypto has none.
#pragma once

#include "core/base/handle.h"

#include <openssl/evp.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace volseal {

// Piece by piece.
class Sha256 {
 public:
  Sha256();
  void add(std::string_view data);
  // Once, and nothing is added after it.
  std::string end();

 private:
  Handle<EVP_MD_CTX, EVP_MD_CTX_free> context_;
};

std::string sha256_hex(std::string_view data);
std::string sha256_hex(std::span<const std::uint8_t> data);

}  // namespace volseal
