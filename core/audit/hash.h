// SHA-256 of very many short texts.
#pragma once

#include "core/base/handle.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace volseal::audit {

using Hash = std::array<std::uint8_t, 32>;

std::string hex(const Hash& hash);

// Looks the algorithm up once. Throws Error{internal} where libcrypto has none.
class Hasher {
 public:
  Hasher();
  Hash of(std::string_view text);
  // RFC 6962, 2.1: SHA-256(0x00 ‖ line) and SHA-256(0x01 ‖ left ‖ right).
  Hash leaf(std::string_view line);
  Hash node(const Hash& left, const Hash& right);

 private:
  void begin();
  void add(const void* data, std::size_t size);
  Hash end();

  Handle<EVP_MD, EVP_MD_free> algorithm_;
  Handle<EVP_MD_CTX, EVP_MD_CTX_free> context_;
};

}  // namespace volseal::audit
