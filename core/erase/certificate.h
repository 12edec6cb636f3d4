// The certificate of an erasure: what was destroyed, by whom, when, how that was proven, what there
// still is, and what nobody can promise.
#pragma once

#include "core/erase/journal.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace volseal {

struct ErasureCertificate {
  ErasureEntry entry;
  std::string host;
  std::string boot_id;
  std::string made_at;  // RFC 3339, UTC
  std::string version;  // of this program
  // "person", "uid", "terminal" ...: as the audit log has it, without what is empty.
  std::vector<std::pair<std::string, std::string>> who;

  // No copy of a header is known to be left, and the TPM was cleared where that was to be done.
  bool complete() const;
};

// Schema "volseal-erasure/1".
std::string to_json(const ErasureCertificate& certificate);
// The in-toto statement that is signed: one subject a volume, its digest that of the overwritten
// areas. `json` is the certificate.
inline constexpr std::string_view erasure_predicate = "urn:volseal:erasure:1";
std::string erasure_statement(const ErasureCertificate& certificate, std::string_view json);

struct CertificateSignature {
  std::string by;   // "the TPM of the machine", "the key of its audit log"
  std::string key;  // its id
};
// To print. `envelope`: name of the file with the signatures.
std::string erasure_page(const ErasureCertificate& certificate, std::string_view json,
                         const std::vector<CertificateSignature>& signatures,
                         std::string_view envelope);

// What can and cannot be promised of these disks, as sentences.
std::vector<std::string> erasure_limits(const ErasureEntry& entry);

// A statement of somebody else, once its signature was checked.
struct ErasureFacts {
  std::string host, target, group, made_at, person;
  bool complete = false;
  struct Volume {
    std::string path, luks_uuid, erased_at;
    std::vector<std::string> serials;
    std::vector<ErasedArea> areas;
  };
  std::vector<Volume> volumes;
  std::vector<std::string> still_exists;  // "header backup: /var/..."
  std::string json;                       // the certificate
};
bool is_erasure_statement(std::string_view text);
// Bounded: throws Error{bad_evidence}, also where the subjects are not the volumes.
ErasureFacts parse_erasure_statement(std::string_view text);

}  // namespace volseal
