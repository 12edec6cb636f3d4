#include "core/evidence/envelope.h"

#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/handle.h"
#include "core/base/strict_json.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <array>
#include <utility>

namespace volseal {

namespace {

using EvidencePkey = Handle<EVP_PKEY, EVP_PKEY_free>;

constexpr std::size_t most_signatures = 8;
constexpr std::size_t largest_signature = 256;
constexpr std::size_t longest_name = 256;

bool is_p256(const EVP_PKEY* key) {
  std::array<char, 64> group{};
  std::size_t size = 0;
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
         EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group.data(), group.size(),
                                        &size) == 1 &&
         std::string_view(group.data(), size) == "prime256v1";
}

Bytes info_of(const EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  if (size <= 0) throw Error(Code::internal, "write a public key: libcrypto refused");
  Bytes info(der, der + size);
  OPENSSL_free(der);
  return info;
}

EvidencePkey key_from(const Bytes& info) {
  const unsigned char* at = info.data();
  EvidencePkey key(d2i_PUBKEY(nullptr, &at, static_cast<long>(info.size())));
  if (!key) throw Error(Code::internal, "read a public key: libcrypto refused");
  return key;
}

}  // namespace

Bytes sha256_of(std::string_view text) {
  const auto digest = from_hex(sha256_hex(text));
  if (!digest) throw Error(Code::internal, "hash evidence: no digest");
  return *digest;
}

std::string signed_bytes(std::string_view payload_type, std::string_view payload) {
  return fmt::format("DSSEv1 {} {} {} {}", payload_type.size(), payload_type, payload.size(),
                     payload);
}

std::string to_json(const Envelope& envelope) {
  const auto base64 = [](std::string_view text) {
    return to_base64({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  };
  nlohmann::ordered_json signatures = nlohmann::ordered_json::array();
  for (const Envelope::Signature& signature : envelope.signatures)
    signatures.push_back({{"keyid", signature.keyid}, {"sig", to_base64(signature.bytes)}});
  const nlohmann::ordered_json json = {{"payloadType", envelope.payload_type},
                                       {"payload", base64(envelope.payload)},
                                       {"signatures", std::move(signatures)}};
  return json.dump() + "\n";
}

Envelope parse_envelope(std::string_view text) {
  const std::string what = "evidence";
  try {
    const nlohmann::json parsed = StrictJson::parse(text, largest_evidence, what);
    StrictJson json(parsed, what);
    Envelope envelope{.payload_type = json.text("payloadType", longest_name)};
    const Bytes payload = json.bytes("payload", 1, largest_evidence);
    envelope.payload.assign(payload.begin(), payload.end());
    for (const nlohmann::json& entry : json.array("signatures", 1, most_signatures)) {
      StrictJson signature(entry, what);
      Envelope::Signature one;
      if (signature.has("keyid")) one.keyid = signature.text("keyid", longest_name);
      one.bytes = signature.bytes("sig", 1, largest_signature);
      signature.finish();
      envelope.signatures.push_back(std::move(one));
    }
    json.finish();
    return envelope;
  } catch (const Error& error) {
    throw Error(Code::bad_evidence, "{}", error.what());
  }
}

EvidenceKey EvidenceKey::from_pem(std::string_view pem, std::string_view source) {
  const Handle<BIO, BIO_free_all> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  constexpr auto no_password = [](char*, int, int, void*) { return -1; };
  const EvidencePkey key(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, no_password, nullptr)
                             : nullptr);
  if (!key || !is_p256(key.get()))
    throw Error(Code::bad_key, "read {}: not a P-256 public key in PEM", escaped(source));
  return EvidenceKey(info_of(key.get()));
}

EvidenceKey EvidenceKey::from_point(const Bytes& point) {
  Bytes encoded = {4};  // SEC 1, 2.3.3: uncompressed
  encoded.insert(encoded.end(), point.begin(), point.end());
  std::string curve = "prime256v1";
  const std::array<OSSL_PARAM, 3> parameters = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve.data(), curve.size()),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, encoded.data(), encoded.size()),
      OSSL_PARAM_construct_end()};
  const Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(
      EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY,
                        const_cast<OSSL_PARAM*>(parameters.data())) != 1) {
    throw Error(Code::bad_key, "use an attestation key: not a point on P-256");
  }
  const EvidencePkey owner(key);
  return EvidenceKey(info_of(key));
}

std::string EvidenceKey::pem() const {
  const EvidencePkey key = key_from(info_);
  const Handle<BIO, BIO_free_all> bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_PUBKEY(bio.get(), key.get()) != 1)
    throw Error(Code::internal, "write a public key: libcrypto refused");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string EvidenceKey::id() const {
  return to_hex(sha256_of({reinterpret_cast<const char*>(info_.data()), info_.size()}));
}

bool EvidenceKey::signed_this(std::span<const std::uint8_t> message, const Bytes& signature) const {
  const EvidencePkey key = key_from(info_);
  const Handle<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
  return context &&
         EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) == 1 &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(),
                          message.size()) == 1;
}

}  // namespace volseal
