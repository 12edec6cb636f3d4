#include "core/escrow/certificate.h"

#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/escrow/openssl.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace volseal::escrow {

namespace {

constexpr std::size_t largest_file = 64U << 10U;
constexpr int longest_rsa_bits = 16384;
constexpr std::time_t soon = 30L * 24 * 3600;  // seconds

template <typename... Args>
[[noreturn]] void refuse(const Path& file, fmt::format_string<Args...> why, Args&&... args) {
  throw Error(Code::escrow_refused, "escrow to the certificate {}: {}", file.native(),
              fmt::format(why, std::forward<Args>(args)...));
}

// Whoever can write the certificate reads every key that is escrowed from then on.
void require_roots_own(const Path& file) {
  struct stat status{};
  if (::stat(file.c_str(), &status) != 0) throw_errno(errno, "open {}", file.native());
  if (!S_ISREG(status.st_mode)) refuse(file, "it is no file");
  if ((status.st_uid != 0 && status.st_uid != ::geteuid()) || (status.st_mode & 022U) != 0) {
    refuse(file, "others than root can write it");
  }
}

Certificate509 parse(const Path& file) {
  const std::string content = read_file(file, largest_file);
  const Bio bio = reader_of(content);
  if (!content.contains("-----BEGIN")) {
    Certificate509 certificate(d2i_X509_bio(bio.get(), nullptr));
    if (!certificate || BIO_pending(bio.get()) != 0) {
      refuse(file, "it is no X.509 certificate ({})", openssl_reason());
    }
    return certificate;
  }
  Certificate509 certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!certificate) refuse(file, "it is no X.509 certificate ({})", openssl_reason());
  const Certificate509 second(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  openssl_reason();
  if (second) refuse(file, "it has more than one certificate; give each a file of its own");
  return certificate;
}

std::string day_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "?";
  return fmt::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

void require_valid_now(const Path& file, const X509* certificate, std::time_t now) {
  const ASN1_TIME* first = X509_get0_notBefore(certificate);
  const ASN1_TIME* last = X509_get0_notAfter(certificate);
  const int begun = ASN1_TIME_cmp_time_t(first, now);
  const int ended = ASN1_TIME_cmp_time_t(last, now);
  if (begun == -2 || ended == -2) refuse(file, "its dates make no sense");
  if (begun > 0) refuse(file, "it is not valid before {}", day_of(first));
  if (ended < 0) refuse(file, "it expired on {}", day_of(last));
}

// "prime256v1"; "" for parameters without a name.
std::string curve_of(const EVP_PKEY* key) {
  std::array<char, 80> name{};
  std::size_t size = 0;
  if (EVP_PKEY_get_group_name(key, name.data(), name.size(), &size) != 1) return "";
  return {name.data(), size};
}

// BSI TR-02102-1, section 2.3 (ECIES) and NIST SP 800-186: these have names, and 256 bits or more.
constexpr std::array<std::string_view, 6> good_curves = {"prime256v1",      "secp384r1",
                                                         "secp521r1",       "brainpoolP256r1",
                                                         "brainpoolP384r1", "brainpoolP512r1"};

// The key in words, and the usage that encrypting to it needs.
struct KeyKind {
  std::string name;
  std::uint32_t usage = 0;
  std::string_view usage_name;
};

KeyKind require_strong_key(const Path& file, const X509* certificate) {
  const EVP_PKEY* key = X509_get0_pubkey(certificate);
  if (key == nullptr) refuse(file, "its public key makes no sense ({})", openssl_reason());
  const int bits = EVP_PKEY_get_bits(key);
  if (EVP_PKEY_is_a(key, "RSA") == 1) {
    if (bits < least_rsa_bits) {
      refuse(file, "its RSA key has {} bits, fewer than {}", bits, least_rsa_bits);
    }
    if (bits > longest_rsa_bits) refuse(file, "its RSA key has {} bits, too many to use", bits);
    return {.name = fmt::format("RSA {}", bits),
            .usage = KU_KEY_ENCIPHERMENT,
            .usage_name = "keyEncipherment"};
  }
  if (EVP_PKEY_is_a(key, "EC") == 1) {
    const std::string curve = curve_of(key);
    if (std::ranges::find(good_curves, curve) == good_curves.end()) {
      refuse(file, "its key is on the curve {} ({} bits), which is not among {}",
             curve.empty() ? "without a name" : curve, bits, fmt::join(good_curves, ", "));
    }
    return {.name = "EC " + curve, .usage = KU_KEY_AGREEMENT, .usage_name = "keyAgreement"};
  }
  const char* type = EVP_PKEY_get0_type_name(key);
  refuse(file, "its key is of the type {}, neither RSA nor EC", type == nullptr ? "?" : type);
}

void require_usage(const Path& file, X509* certificate, const KeyKind& kind) {
  const std::uint32_t flags = X509_get_extension_flags(certificate);
  // RFC 5280 section 4.2: what is critical and not understood is refused.
  if ((flags & (EXFLAG_INVALID | EXFLAG_CRITICAL)) != 0) {
    refuse(file, "it has an extension that is malformed, or critical and not known");
  }
  if ((flags & EXFLAG_KUSAGE) != 0) {
    if ((X509_get_key_usage(certificate) & kind.usage) == 0) {
      refuse(file, "its key usage lacks {}: it is not made to encrypt to", kind.usage_name);
    }
  } else if ((flags & EXFLAG_CA) != 0) {
    refuse(file, "it is that of a certification authority, and names no key usage");
  }
}

std::vector<std::string> warnings_of(X509* certificate, std::time_t now) {
  std::vector<std::string> warnings;
  int digest = NID_undef;
  if (X509_get_signature_info(certificate, &digest, nullptr, nullptr, nullptr) == 1 &&
      (digest == NID_sha1 || digest == NID_md5 || digest == NID_md5_sha1)) {
    warnings.push_back(
        fmt::format("it is signed with {}, which can be forged", OBJ_nid2sn(digest)));
  }
  const ASN1_TIME* last = X509_get0_notAfter(certificate);
  if (ASN1_TIME_cmp_time_t(last, now + soon) < 0) {
    warnings.push_back(fmt::format("it expires on {}", day_of(last)));
  }
  return warnings;
}

std::string subject_of(const X509* certificate) {
  const Bio bio = writer();
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0,
                     XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  return to_valid_utf8(written_to(bio).substr(0, 256));
}

Bytes der_of(int size, unsigned char* data) {
  if (size <= 0 || data == nullptr) {
    throw Error(Code::internal, "write a certificate: {}", openssl_reason());
  }
  Bytes der(data, data + size);
  OPENSSL_free(data);
  return der;
}

}  // namespace

Certificate read_certificate(const Path& file, std::time_t now) {
  require_roots_own(file);
  const Certificate509 x509 = parse(file);
  require_valid_now(file, x509.get(), now);
  const KeyKind kind = require_strong_key(file, x509.get());
  require_usage(file, x509.get(), kind);

  Certificate certificate;
  certificate.file = file;
  unsigned char* data = nullptr;
  int size = i2d_X509(x509.get(), &data);
  certificate.der = der_of(size, data);
  data = nullptr;
  size = i2d_PUBKEY(X509_get0_pubkey(x509.get()), &data);
  certificate.key_digest = sha256_hex(der_of(size, data));
  certificate.fingerprint = sha256_hex(certificate.der);
  certificate.subject = subject_of(x509.get());
  certificate.key = kind.name;
  certificate.not_after = day_of(X509_get0_notAfter(x509.get()));
  certificate.warnings = warnings_of(x509.get(), now);
  return certificate;
}

std::vector<Certificate> read_certificates(const std::vector<Path>& files, std::time_t now) {
  std::vector<Certificate> certificates;
  for (const Path& file : files) {
    Certificate certificate = read_certificate(file, now);
    const auto same =
        std::ranges::find(certificates, certificate.key_digest, &Certificate::key_digest);
    if (same != certificates.end()) {
      refuse(file, "it has the same key as {}", same->file.native());
    }
    certificates.push_back(std::move(certificate));
  }
  return certificates;
}

}  // namespace volseal::escrow
