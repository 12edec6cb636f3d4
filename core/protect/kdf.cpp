#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/protect/all_of_token.h"
#include "core/protect/group_protector.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>

namespace volseal {

namespace {

constexpr std::size_t key_size = 32;

// HKDF-SHA256, extract and expand (RFC 5869 sections 2.2 and 2.3).
Secret hkdf(const Secret& input, const Bytes& salt, std::string info) {
  const Handle<EVP_KDF, EVP_KDF_free> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const Handle<EVP_KDF_CTX, EVP_KDF_CTX_free> context(EVP_KDF_CTX_new(kdf.get()));
  if (!context) throw Error(Code::internal, "derive a key: OpenSSL has no HKDF");
  std::string digest = "SHA256";
  // OSSL_PARAM wants pointers to what it will not change.
  std::array params = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_octet_string(
          OSSL_KDF_PARAM_KEY, const_cast<std::uint8_t*>(input.bytes().data()), input.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      salt.empty() ? OSSL_PARAM_construct_end()
                   : OSSL_PARAM_construct_octet_string(
                         OSSL_KDF_PARAM_SALT, const_cast<std::uint8_t*>(salt.data()), salt.size()),
      OSSL_PARAM_construct_end()};
  Secret output(key_size);
  if (EVP_KDF_derive(context.get(), output.bytes().data(), output.size(), params.data()) != 1) {
    throw Error(Code::internal, "derive a key: HKDF failed");
  }
  return output;
}

}  // namespace

Secret keyslot_passphrase(const Secret& group_secret, std::string_view volume_uuid,
                          const Bytes& salt) {
  return hex_of(hkdf(group_secret, salt, "volseal/keyslot/1" + std::string(volume_uuid)));
}

Bytes binding_mac(const Secret& group_secret, std::string_view binding_text) {
  const Secret key = hkdf(group_secret, {}, "volseal/binding/1");
  Bytes mac(key_size);
  unsigned size = 0;
  if (HMAC(EVP_sha256(), key.bytes().data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(binding_text.data()), binding_text.size(),
           mac.data(), &size) == nullptr ||
      size != mac.size()) {
    throw Error(Code::internal, "compute the header binding: HMAC failed");
  }
  return mac;
}

bool equal_macs(const Bytes& left, const Bytes& right) {
  return left.size() == right.size() && CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

Secret all_of_passphrase(const AllOfToken& token, const PartSecrets& secrets,
                         std::string_view luks_uuid) {
  const std::vector<Part> parts = token.parts();
  Secret keys(parts.size() * key_size);
  std::size_t at = 0;
  for (const Part part : parts) {
    const auto secret = secrets.find(part);
    if (secret == secrets.end())
      throw Error(Code::internal, "derive a key: the part {} is missing", to_string(part));
    const Secret key = hkdf(secret->second, token.salt,
                            fmt::format("volseal/all-of/part/1/{}/{}", to_string(part), luks_uuid));
    std::ranges::copy(key.bytes(), keys.bytes().subspan(at, key_size).begin());
    at += key_size;
  }
  return hex_of(
      hkdf(keys, token.salt, fmt::format("volseal/all-of/1/{}/{}", token.name(), luks_uuid)));
}

Bytes recovery_key_check(const AllOfToken& token, const Secret& key, std::string_view luks_uuid) {
  const Secret check = hkdf(key, token.salt, fmt::format("volseal/all-of/check/1/{}", luks_uuid));
  const auto first = check.bytes().first(AllOfToken::check_size);
  return {first.begin(), first.end()};
}

}  // namespace volseal
