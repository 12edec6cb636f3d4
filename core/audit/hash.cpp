#include "core/audit/hash.h"

#include "core/base/base64.h"
#include "core/base/error.h"

namespace volseal::audit {

namespace {

void require_digest(bool good) {
  if (!good) throw Error(Code::internal, "compute a digest: OpenSSL has no SHA-256");
}

}  // namespace

std::string hex(const Hash& hash) {
  return to_hex(hash);
}

Hasher::Hasher()
    : algorithm_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
  require_digest(algorithm_ && context_);
}

void Hasher::begin() {
  require_digest(EVP_DigestInit_ex2(context_.get(), algorithm_.get(), nullptr) == 1);
}

void Hasher::add(const void* data, std::size_t size) {
  require_digest(EVP_DigestUpdate(context_.get(), data, size) == 1);
}

Hash Hasher::end() {
  Hash hash{};
  unsigned length = 0;
  require_digest(EVP_DigestFinal_ex(context_.get(), hash.data(), &length) == 1 &&
                 length == hash.size());
  return hash;
}

Hash Hasher::of(std::string_view text) {
  begin();
  add(text.data(), text.size());
  return end();
}

Hash Hasher::leaf(std::string_view line) {
  constexpr char prefix = 0;
  begin();
  add(&prefix, 1);
  add(line.data(), line.size());
  return end();
}

Hash Hasher::node(const Hash& left, const Hash& right) {
  constexpr char prefix = 1;
  begin();
  add(&prefix, 1);
  add(left.data(), left.size());
  add(right.data(), right.size());
  return end();
}

}  // namespace volseal::audit
