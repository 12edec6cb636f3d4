// The in-toto statement (v1, predicate test-result v0.1) that holds a report and the TPM's quote.
//
// The quote's qualifying data is SHA-256(SHA-256(report) ‖ nonce), so the report, and with it host,
// boot id and time, are bound to the key, to the PCRs and to who asked.
#pragma once

#include "core/base/base64.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

inline constexpr std::string_view statement_type = "application/vnd.in-toto+json";
inline constexpr std::size_t least_nonce = 16;  // bytes
inline constexpr std::size_t most_nonce = 64;

struct Evidence {
  std::string report;  // "volseal-coverage/1", to the byte
  std::string result;  // "PASSED", "WARNED", "FAILED"
  std::string policy_digest;
  std::vector<std::string> passed;  // ids of volumes
  std::vector<std::string> warned;
  std::vector<std::string> failed;
  std::string boot_id;
  std::string made_at;
  Bytes nonce;
  bool nonce_is_own = false;  // nobody asked: the machine chose it, and it proves no freshness
  std::string bank;
  std::map<int, Bytes> pcrs;
  Bytes quote;            // TPMS_ATTEST
  Bytes quote_signature;  // ECDSA, DER
};

Bytes qualifying_data(std::string_view report, const Bytes& nonce);

std::string to_statement(const Evidence& evidence);
// Strict and bounded: throws Error{bad_evidence}, also where the subject's digest is not the
// report's.
Evidence parse_statement(std::string_view text);

}  // namespace volseal
