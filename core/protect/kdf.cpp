#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/protect/group_protector.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

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

}  // namespace volseal
