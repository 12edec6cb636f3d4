// Evidence: a report that a TPM has signed, and its check on another machine.
#pragma once

#include "cli/verb.h"
#include "core/base/base64.h"
#include "core/evidence/envelope.h"
#include "core/evidence/statement.h"
#include "core/report/report.h"
#include "tpm/attestation.h"

#include <optional>
#include <string>
#include <string_view>

namespace volseal {

// Hexadecimal, 16 to 64 bytes. Throws Error{usage}, also for "": a variable that a script forgot to
// set must not pass for evidence that nobody asked for.
std::optional<Bytes> parse_nonce(const std::optional<std::string>& nonce);

// The report as an envelope, signed by this machine's TPM. Where nobody gives a nonce the machine
// draws one.
std::string make_evidence(const Report& report, const std::optional<Bytes>& nonce,
                          const Options& options);

struct Verified {
  Evidence evidence;
  tpm::QuoteFacts quote;
};

// Needs no TPM. Throws Error{bad_evidence} where anything does not fit: signature, nonce, quote,
// PCRs, report.
Verified verify_evidence(std::string_view text, const EvidenceKey& key,
                         const std::optional<Bytes>& nonce);

}  // namespace volseal
