#include "core/base/digest.h"

#include "core/base/base64.h"
#include "core/base/error.h"

#include <array>

namespace volseal {

namespace {

void require(bool good) {
  if (!good) throw Error(Code::internal, "compute a digest: OpenSSL has no SHA-256");
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  require(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void Sha256::add(std::string_view data) {
  require(EVP_DigestUpdate(context_.get(), data.data(), data.size()) == 1);
}

std::string Sha256::end() {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  require(EVP_DigestFinal_ex(context_.get(), digest.data(), &length) == 1);
  return to_hex(std::span(digest).first(length));
}

std::string sha256_hex(std::string_view data) {
  Sha256 sum;
  sum.add(data);
  return sum.end();
}

std::string sha256_hex(std::span<const std::uint8_t> data) {
  return sha256_hex(std::string_view(reinterpret_cast<const char*>(data.data()), data.size()));
}

}  // namespace volseal
