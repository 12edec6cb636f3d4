#include "tpm/policy_key.h"

#include "core/base/error.h"
#include "core/base/handle.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace volseal::tpm {

namespace {

using Pkey = Handle<EVP_PKEY, EVP_PKEY_free>;
using PkeyContext = Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using Signature = Handle<ECDSA_SIG, ECDSA_SIG_free>;
using Bio = Handle<BIO, BIO_free_all>;

constexpr const char* curve = "prime256v1";

void require(bool good, const char* what) {
  if (!good) throw Error(Code::internal, "{}: OpenSSL refused", what);
}

bool on_p256(const EVP_PKEY* key) {
  std::array<char, 32> name{};
  return EVP_PKEY_is_a(key, "EC") == 1 &&
         EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name.data(), name.size(),
                                        nullptr) == 1 &&
         std::string_view(name.data()) == std::string_view(curve);
}

Pkey public_key(const Bytes& point) {
  if (point.size() != 2 * coordinate_size) return nullptr;
  Bytes encoded = {0x04};  // SEC 1: uncompressed
  encoded.insert(encoded.end(), point.begin(), point.end());
  std::string group(curve);
  std::array<OSSL_PARAM, 3> parameters = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, encoded.data(), encoded.size()),
      OSSL_PARAM_construct_end()};
  const PkeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.data()) != 1) {
    return nullptr;
  }
  return Pkey(key);
}

}  // namespace

PolicyKey PolicyKey::generate() {
  EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", curve);
  require(key != nullptr, "make a policy key");
  return PolicyKey(std::shared_ptr<EVP_PKEY>(key, EVP_PKEY_free));
}

PolicyKey PolicyKey::from_pem(const Secret& pem) {
  const Bio bio(BIO_new_mem_buf(pem.chars(), static_cast<int>(pem.size())));
  require(bio != nullptr, "read a policy key");
  // A callback that gives no password: an encrypted key is an error, not a prompt.
  constexpr auto no_password = [](char*, int, int, void*) { return -1; };
  const std::shared_ptr<EVP_PKEY> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr), EVP_PKEY_free);
  if (!key || !on_p256(key.get()))
    throw Error(Code::damaged, "read a policy key: not a P-256 private key");
  return PolicyKey(key);
}

Secret PolicyKey::to_pem() const {
  // A memory BIO that wipes what it held.
  const Bio bio(BIO_new(BIO_s_secmem()));
  require(bio && PEM_write_bio_PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr,
                                          nullptr) == 1,
          "write a policy key");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  require(data != nullptr && size > 0, "write a policy key");
  return Secret::copy_of(std::string_view(data, static_cast<std::size_t>(size)));
}

Bytes PolicyKey::public_point() const {
  std::array<std::uint8_t, 1 + 2 * coordinate_size> encoded{};
  std::size_t size = 0;
  // The format a key was read in may be compressed; ask for the coordinates instead.
  BIGNUM* x = nullptr;
  BIGNUM* y = nullptr;
  const bool good = EVP_PKEY_get_bn_param(key_.get(), OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 &&
                    EVP_PKEY_get_bn_param(key_.get(), OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1;
  const Handle<BIGNUM, BN_free> own_x(x);
  const Handle<BIGNUM, BN_free> own_y(y);
  require(good && BN_bn2binpad(x, encoded.data(), coordinate_size) == coordinate_size &&
              BN_bn2binpad(y, encoded.data() + coordinate_size, coordinate_size) == coordinate_size,
          "read the point of a policy key");
  size = 2 * coordinate_size;
  return {encoded.begin(), encoded.begin() + static_cast<std::ptrdiff_t>(size)};
}

Bytes PolicyKey::sign(const Bytes& digest) const {
  const PkeyContext context(EVP_PKEY_CTX_new(key_.get(), nullptr));
  std::size_t size = 0;
  require(context && EVP_PKEY_sign_init(context.get()) == 1 &&
              EVP_PKEY_sign(context.get(), nullptr, &size, digest.data(), digest.size()) == 1,
          "sign an approval");
  Bytes der(size);
  require(EVP_PKEY_sign(context.get(), der.data(), &size, digest.data(), digest.size()) == 1,
          "sign an approval");
  const unsigned char* at = der.data();
  const Signature parsed(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size)));
  require(parsed != nullptr, "sign an approval");
  Bytes raw(2 * coordinate_size);
  require(BN_bn2binpad(ECDSA_SIG_get0_r(parsed.get()), raw.data(), coordinate_size) ==
                  coordinate_size &&
              BN_bn2binpad(ECDSA_SIG_get0_s(parsed.get()), raw.data() + coordinate_size,
                           coordinate_size) == coordinate_size,
          "sign an approval");
  return raw;
}

bool verify_approval(const Bytes& public_point, const Bytes& digest, const Bytes& signature) {
  const Pkey key = public_key(public_point);
  if (!key || signature.size() != 2 * coordinate_size) return false;
  const Signature parsed(ECDSA_SIG_new());
  BIGNUM* r = BN_bin2bn(signature.data(), coordinate_size, nullptr);
  BIGNUM* s = BN_bin2bn(signature.data() + coordinate_size, coordinate_size, nullptr);
  if (!parsed || ECDSA_SIG_set0(parsed.get(), r, s) != 1) {
    BN_free(r);
    BN_free(s);
    return false;
  }
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(parsed.get(), &der);
  if (size <= 0) return false;
  const Bytes encoded(der, der + size);
  OPENSSL_free(der);
  const PkeyContext context(EVP_PKEY_CTX_new(key.get(), nullptr));
  return context && EVP_PKEY_verify_init(context.get()) == 1 &&
         EVP_PKEY_verify(context.get(), encoded.data(), encoded.size(), digest.data(),
                         digest.size()) == 1;
}

}  // namespace volseal::tpm
