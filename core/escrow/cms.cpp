#include "core/escrow/cms.h"

#include "core/base/base64.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/escrow/openssl.h"

#include <fmt/format.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

namespace volseal::escrow {

namespace {

constexpr int most_recipients = 64;

[[noreturn]] void bad(const std::string& what) {
  throw Error(Code::bad_blob, "read an escrow blob: {}", what);
}

void add_recipient(CMS_ContentInfo* cms, const Certificate& certificate) {
  const unsigned char* at = certificate.der.data();
  const Certificate509 x509(d2i_X509(nullptr, &at, static_cast<long>(certificate.der.size())));
  CMS_RecipientInfo* recipient =
      x509 ? CMS_add1_recipient_cert(cms, x509.get(), CMS_KEY_PARAM) : nullptr;
  // Owned by the recipient.
  EVP_PKEY_CTX* key = recipient == nullptr ? nullptr : CMS_RecipientInfo_get0_pkey_ctx(recipient);
  bool good = key != nullptr;
  if (good && CMS_RecipientInfo_type(recipient) == CMS_RECIPINFO_TRANS) {
    good = EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(key, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(key, EVP_sha256()) == 1;
  } else if (good) {
    good = EVP_PKEY_CTX_set_ecdh_kdf_md(key, EVP_sha256()) == 1;
  }
  if (!good) {
    throw Error(Code::escrow_refused, "escrow to the certificate {}: {}", certificate.file.native(),
                openssl_reason());
  }
}

Cms parse(const std::string& bytes) {
  const Bio bio = reader_of(bytes);
  Cms cms(bytes.contains("-----BEGIN") ? PEM_read_bio_CMS(bio.get(), nullptr, nullptr, nullptr)
                                       : d2i_CMS_bio(bio.get(), nullptr));
  if (!cms) bad(fmt::format("it is no CMS object ({})", openssl_reason()));
  return cms;
}

// "serial 1f3a, issuer CN=..."
std::string named(const ASN1_INTEGER* serial, const X509_NAME* issuer) {
  if (serial == nullptr || issuer == nullptr) return "named by its key only";
  const Bio bio = writer();
  X509_NAME_print_ex(bio.get(), issuer, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  const std::size_t size = std::min<std::size_t>(static_cast<std::size_t>(serial->length), 32);
  return fmt::format("serial {}, issuer {}", to_hex(std::span(serial->data, size)),
                     to_valid_utf8(written_to(bio).substr(0, 256)));
}

void add_names(CMS_RecipientInfo* recipient, std::vector<std::string>& names) {
  ASN1_OCTET_STRING* key_id = nullptr;
  X509_NAME* issuer = nullptr;
  ASN1_INTEGER* serial = nullptr;
  switch (CMS_RecipientInfo_type(recipient)) {
    case CMS_RECIPINFO_TRANS:
      CMS_RecipientInfo_ktri_get0_signer_id(recipient, &key_id, &issuer, &serial);
      names.push_back(named(serial, issuer));
      return;
    case CMS_RECIPINFO_AGREE: {
      STACK_OF(CMS_RecipientEncryptedKey)* keys = CMS_RecipientInfo_kari_get0_reks(recipient);
      for (int i = 0; i < sk_CMS_RecipientEncryptedKey_num(keys); ++i) {
        ASN1_GENERALIZEDTIME* time = nullptr;
        CMS_OtherKeyAttribute* other = nullptr;
        issuer = nullptr;
        serial = nullptr;
        CMS_RecipientEncryptedKey_get0_id(sk_CMS_RecipientEncryptedKey_value(keys, i), &key_id,
                                          &time, &other, &issuer, &serial);
        names.push_back(named(serial, issuer));
      }
      return;
    }
    default: bad("a recipient of it is neither RSA nor EC");
  }
}

}  // namespace

std::string seal(const Secret& content, const std::vector<const Certificate*>& recipients) {
  const Cms cms(CMS_encrypt(nullptr, nullptr, EVP_aes_256_gcm(), CMS_BINARY | CMS_PARTIAL));
  if (!cms) throw Error(Code::internal, "make an escrow blob: {}", openssl_reason());
  for (const Certificate* recipient : recipients) add_recipient(cms.get(), *recipient);
  const Bio plain = reader_of(content.bytes());
  const Bio out = writer();
  if (CMS_final(cms.get(), plain.get(), nullptr, CMS_BINARY) != 1 ||
      PEM_write_bio_CMS(out.get(), cms.get()) != 1) {
    throw Error(Code::internal, "make an escrow blob: {}", openssl_reason());
  }
  return std::string(written_to(out));
}

Blob::Blob(std::string bytes) : bytes_(std::move(bytes)) {
  if (bytes_.size() > largest_blob) bad("it is too long");
  const Cms cms = parse(bytes_);
  if (OBJ_obj2nid(CMS_get0_type(cms.get())) != NID_id_smime_ct_authEnvelopedData) {
    bad("it is CMS, but no AuthEnvelopedData");
  }
  STACK_OF(CMS_RecipientInfo)* recipients = CMS_get0_RecipientInfos(cms.get());
  const int count = recipients == nullptr ? 0 : sk_CMS_RecipientInfo_num(recipients);
  if (count < 1 || count > most_recipients) bad(fmt::format("it has {} recipients", count));
  for (int i = 0; i < count; ++i) {
    add_names(sk_CMS_RecipientInfo_value(recipients, i), recipients_);
    if (recipients_.size() > most_recipients) bad("it has too many recipients");
  }
}

std::optional<Secret> Blob::open(const PrivateKey& key) const {
  // Anew each time: a key that does not fit leaves its traces in the object.
  const Cms cms = parse(bytes_);
  const Bio out = writer();
  const int opened = CMS_decrypt(cms.get(), key.get(), nullptr, nullptr, out.get(), CMS_BINARY);
  openssl_reason();
  // What was written before the tag was seen to be wrong is wiped with its BIO.
  if (opened != 1) return std::nullopt;
  return Secret::copy_of(written_to(out));
}

}  // namespace volseal::escrow
