#include "cli/evidence.h"
#include "core/base/error.h"
#include "core/base/secret.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

[[noreturn]] void refuse_evidence(std::string_view why) {
  throw Error(Code::bad_evidence, "verify evidence: {}", why);
}

std::string result_of(int exit_status) {
  if (exit_status == 0) return "PASSED";
  return exit_status == 1 ? "WARNED" : "FAILED";
}

std::vector<int> quoted_pcrs() {
  std::vector<int> pcrs;
  pcrs.reserve(16);
  for (int pcr = 0; pcr < 16; ++pcr) pcrs.push_back(pcr);
  return pcrs;
}

Bytes concatenated(const std::map<int, Bytes>& pcrs) {
  Bytes all;
  for (const auto& [pcr, value] : pcrs) all.insert(all.end(), value.begin(), value.end());
  return all;
}

void add_tests(Evidence& evidence, const Report& report) {
  for (std::size_t at = 0; at < report.ids.size(); ++at) {
    switch (report.coverage.volumes[at].verdict) {
      case Verdict::covered:
      case Verdict::exempt: evidence.passed.push_back(report.ids[at]); break;
      case Verdict::covered_weak:
      case Verdict::suspended: evidence.warned.push_back(report.ids[at]); break;
      case Verdict::converting:
      case Verdict::unknown:
      case Verdict::not_covered: evidence.failed.push_back(report.ids[at]); break;
    }
  }
}

bool signed_by(const EvidenceKey& key, const Envelope& envelope) {
  const std::string bytes = signed_bytes(envelope.payload_type, envelope.payload);
  return std::ranges::any_of(envelope.signatures, [&](const Envelope::Signature& signature) {
    return key.signed_this({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()},
                           signature.bytes);
  });
}

void check_quote(const Evidence& evidence, const tpm::QuoteFacts& quote) {
  if (quote.qualifying != qualifying_data(evidence.report, evidence.nonce))
    refuse_evidence("the TPM's quote is for another report or another nonce");
  std::vector<int> told;
  told.reserve(evidence.pcrs.size());
  for (const auto& [pcr, value] : evidence.pcrs) told.push_back(pcr);
  const Bytes values = concatenated(evidence.pcrs);
  const Bytes digest = sha256_of({reinterpret_cast<const char*>(values.data()), values.size()});
  if (quote.bank != evidence.bank || quote.pcrs != told || quote.pcr_digest != digest)
    refuse_evidence("the PCRs are not those that the TPM has quoted");
}

// What the statement says beside the report must be what the report says.
void check_report(const Evidence& evidence) {
  const nlohmann::json report = nlohmann::json::parse(evidence.report, nullptr, false);
  try {
    if (report.at("schema") != "volseal-coverage/1" || report.at("boot_id") != evidence.boot_id ||
        report.at("made_at") != evidence.made_at ||
        report.at("policy_digest") != evidence.policy_digest ||
        result_of(report.at("exit_status").get<int>()) != evidence.result ||
        report.at("volumes").size() !=
            evidence.passed.size() + evidence.warned.size() + evidence.failed.size()) {
      refuse_evidence("the statement is not about the report in it");
    }
  } catch (const nlohmann::json::exception&) {
    refuse_evidence("what is in it is no report");
  }
}

}  // namespace

std::optional<Bytes> parse_nonce(const std::optional<std::string>& nonce) {
  if (!nonce) return std::nullopt;
  auto bytes = from_hex(*nonce);
  if (!bytes || bytes->size() < least_nonce || bytes->size() > most_nonce) {
    throw Error(Code::usage, "use that nonce: it is not {} to {} bytes in hexadecimal", least_nonce,
                most_nonce);
  }
  return bytes;
}

std::string make_evidence(const Report& report, const std::optional<Bytes>& nonce,
                          const Options& options) {
  tpm::Connection connection = tpm::Connection::connect(options.tcti);
  const auto key = tpm::AttestationKey::open_or_make(connection, options.state);
  Evidence evidence{.report = report_json(report),
                    .result = result_of(report.coverage.exit_status()),
                    .policy_digest = report.policy_digest,
                    .boot_id = report.boot_id,
                    .made_at = report.made_at,
                    .nonce_is_own = !nonce};
  add_tests(evidence, report);
  if (nonce) {
    evidence.nonce = *nonce;
  } else {
    const Secret drawn = Secret::random(32);
    evidence.nonce.assign(drawn.bytes().begin(), drawn.bytes().end());
  }
  evidence.bank = tpm::choose_bank(connection, "sha256", quoted_pcrs());
  tpm::Quote quote = key.quote(connection, qualifying_data(evidence.report, evidence.nonce),
                               evidence.bank, quoted_pcrs());
  evidence.pcrs = tpm::read_pcrs(connection, evidence.bank, quoted_pcrs());
  evidence.quote = std::move(quote.attest);
  evidence.quote_signature = std::move(quote.signature);

  Envelope envelope{.payload_type = std::string(statement_type), .payload = to_statement(evidence)};
  envelope.signatures.push_back(
      {.keyid = EvidenceKey::from_point(key.public_point()).id(),
       .bytes = key.sign(connection, signed_bytes(envelope.payload_type, envelope.payload))});
  std::string text = to_json(envelope);
  // A PCR that moved between quote and reading would make evidence that nobody believes.
  static_cast<void>(verify_evidence(text, EvidenceKey::from_point(key.public_point()), nonce));
  return text;
}

Verified verify_evidence(std::string_view text, const EvidenceKey& key,
                         const std::optional<Bytes>& nonce) {
  const Envelope envelope = parse_envelope(text);
  if (envelope.payload_type != statement_type) refuse_evidence("it is no in-toto statement");
  // Nothing of what it says is looked at before it is known who says it.
  if (!signed_by(key, envelope)) refuse_evidence("it is not signed by that key");
  Verified verified{.evidence = parse_statement(envelope.payload), .quote = {}};
  const Evidence& evidence = verified.evidence;
  if (nonce && evidence.nonce != *nonce) refuse_evidence("it was made for another nonce");
  if (!key.signed_this(evidence.quote, evidence.quote_signature))
    refuse_evidence("its quote is not signed by that key");
  verified.quote = tpm::parse_quote(evidence.quote);
  check_quote(evidence, verified.quote);
  check_report(evidence);
  return verified;
}

}  // namespace volseal
