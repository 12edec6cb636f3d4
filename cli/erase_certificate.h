// The certificate of an erasure, signed by what this machine has to sign with, and its check.
#pragma once

#include "cli/verb.h"
#include "core/erase/certificate.h"
#include "core/evidence/envelope.h"

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct WrittenCertificate {
  Path json, page, envelope;  // `envelope` is "" where nothing could sign
  std::vector<CertificateSignature> signatures;
  std::string text;  // the certificate
};

// FOLDER/NAME-ID.json, .html and .dsse.json; NAME is the LUKS UUID or the group. The TPM's
// attestation key signs where there is a TPM, the audit log's key where there is a log. Written
// anew after a cut.
WrittenCertificate write_certificate(const ErasureEntry& entry, const Options& options);

// Whether one of the envelope's signatures is by that key: what 'evidence key' printed, or 'audit
// key'. Throws Error{bad_key} where `key` is neither; `id` gets whose it is.
bool is_signed_by(const Envelope& envelope, std::string_view key, std::string_view source,
                  std::string& id);

}  // namespace volseal
