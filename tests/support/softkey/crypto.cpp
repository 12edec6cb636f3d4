#include "tests/support/softkey/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace volseal::test {

namespace {

constexpr std::size_t coordinate = 32;
constexpr std::size_t block = 16;

void check(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("OpenSSL: ") + what);
}

Bytes hkdf(const Bytes& z, std::string info) {
  const Handle<EVP_KDF, EVP_KDF_free> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const Handle<EVP_KDF_CTX, EVP_KDF_CTX_free> context(EVP_KDF_CTX_new(kdf.get()));
  std::string digest = "SHA256";
  Bytes salt(coordinate, 0);
  Bytes key = z;
  const std::array params = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.data(), key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end()};
  Bytes out(coordinate);
  check(EVP_KDF_derive(context.get(), out.data(), out.size(), params.data()) == 1, "HKDF");
  return out;
}

Bytes aes_256_cbc(const Bytes& key, View iv, View data, bool encrypt) {
  const Handle<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free> context(EVP_CIPHER_CTX_new());
  Bytes out(data.size() + block);
  int size = 0;
  int rest = 0;
  check(EVP_CipherInit_ex(context.get(), EVP_aes_256_cbc(), nullptr, key.data(), iv.data(),
                          encrypt ? 1 : 0) == 1,
        "AES");
  EVP_CIPHER_CTX_set_padding(context.get(), 0);
  check(EVP_CipherUpdate(context.get(), out.data(), &size, data.data(),
                         static_cast<int>(data.size())) == 1,
        "AES");
  check(EVP_CipherFinal_ex(context.get(), out.data() + size, &rest) == 1, "AES");
  out.resize(static_cast<std::size_t>(size + rest));
  return out;
}

Bytes point_of(const EVP_PKEY* key) {
  Bytes point(1 + 2 * coordinate);
  std::size_t size = 0;
  check(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size(),
                                        &size) == 1 &&
            size == point.size(),
        "public key");
  return point;
}

Handle<EVP_PKEY, EVP_PKEY_free> public_key(Bytes point) {
  std::string group = "P-256";
  std::array params = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()),
      OSSL_PARAM_construct_end()};
  const Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(
      EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  if (EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.data()) != 1) {
    return nullptr;
  }
  return Handle<EVP_PKEY, EVP_PKEY_free>(key);
}

}  // namespace

Bytes random_bytes(std::size_t size) {
  Bytes bytes(size);
  check(RAND_bytes(bytes.data(), static_cast<int>(size)) == 1, "random");
  return bytes;
}

Bytes sha256(View data) {
  Bytes digest(SHA256_DIGEST_LENGTH);
  SHA256(data.data(), data.size(), digest.data());
  return digest;
}

Bytes hmac_sha256(View key, View data) {
  Bytes mac(SHA256_DIGEST_LENGTH);
  check(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(),
             mac.data(), nullptr) != nullptr,
        "HMAC");
  return mac;
}

P256Key P256Key::generate() {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  check(key != nullptr, "P-256");
  return P256Key(key);
}

P256Key P256Key::from_der(const Bytes& der) {
  const unsigned char* at = der.data();
  EVP_PKEY* const key = d2i_AutoPrivateKey(nullptr, &at, static_cast<long>(der.size()));
  check(key != nullptr, "private key");
  return P256Key(key);
}

Bytes P256Key::to_der() const {
  Bytes der(static_cast<std::size_t>(i2d_PrivateKey(key_.get(), nullptr)));
  unsigned char* at = der.data();
  i2d_PrivateKey(key_.get(), &at);
  return der;
}

cbor::Map P256Key::cose(int algorithm) const {
  const Bytes point = point_of(key_.get());
  const auto middle = point.begin() + 1 + coordinate;
  cbor::Map map;
  map.add(cbor::value(1), cbor::value(2)).add(cbor::value(3), cbor::value(algorithm));
  map.add(cbor::value(-1), cbor::value(1));
  map.add(cbor::value(-2), cbor::value(Bytes(point.begin() + 1, middle)));
  map.add(cbor::value(-3), cbor::value(Bytes(middle, point.end())));
  return map;
}

Bytes P256Key::sign(View data) const {
  const Handle<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
  check(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key_.get()) == 1, "sign");
  std::size_t size = 0;
  check(EVP_DigestSign(context.get(), nullptr, &size, data.data(), data.size()) == 1, "sign");
  Bytes signature(size);
  check(EVP_DigestSign(context.get(), signature.data(), &size, data.data(), data.size()) == 1,
        "sign");
  signature.resize(size);
  return signature;
}

std::optional<Bytes> P256Key::agree(const cbor::Map& peer) const {
  Bytes point = {4};
  for (const int name : {-2, -3}) {
    const cbor::Value* const half = peer.at(name);
    if (half == nullptr || half->bytes().size() != coordinate) return std::nullopt;
    point.insert(point.end(), half->bytes().begin(), half->bytes().end());
  }
  const auto other = public_key(std::move(point));
  const Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(EVP_PKEY_CTX_new(key_.get(), nullptr));
  Bytes z(coordinate);
  std::size_t size = z.size();
  if (!other || EVP_PKEY_derive_init(context.get()) != 1 ||
      EVP_PKEY_derive_set_peer(context.get(), other.get()) != 1 ||
      EVP_PKEY_derive(context.get(), z.data(), &size) != 1 || size != z.size()) {
    return std::nullopt;
  }
  return z;
}

SharedSecret SharedSecret::from(int protocol, const Bytes& z) {
  if (protocol == 1) {
    const Bytes key = sha256(z);
    return {.protocol = 1, .hmac_key = key, .aes_key = key};
  }
  return {
      .protocol = 2, .hmac_key = hkdf(z, "CTAP2 HMAC key"), .aes_key = hkdf(z, "CTAP2 AES key")};
}

Bytes SharedSecret::encrypt(View plain) const {
  if (protocol == 1) return aes_256_cbc(aes_key, Bytes(block, 0), plain, true);
  Bytes out = random_bytes(block);
  const Bytes data = aes_256_cbc(aes_key, out, plain, true);
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

std::optional<Bytes> SharedSecret::decrypt(View data) const {
  const Bytes zero(block, 0);
  View iv = zero;
  if (protocol == 2) {
    if (data.size() < block) return std::nullopt;
    iv = data.first(block);
    data = data.subspan(block);
  }
  if (data.empty() || data.size() % block != 0) return std::nullopt;
  return aes_256_cbc(aes_key, iv, data, false);
}

bool SharedSecret::verify(View message, View signature) const {
  return test::verify(protocol, hmac_key, message, signature);
}

bool verify(int protocol, View key, View message, View signature) {
  const Bytes mac = hmac_sha256(key, message);
  const std::size_t size = protocol == 1 ? block : mac.size();
  return signature.size() == size && CRYPTO_memcmp(mac.data(), signature.data(), size) == 0;
}

}  // namespace volseal::test
