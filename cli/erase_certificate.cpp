#include "cli/erase_certificate.h"

#include "cli/drills.h"
#include "cli/world.h"
#include "core/audit/checkpoint.h"
#include "core/base/clock.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/evidence/statement.h"
#include "tpm/attestation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

std::vector<std::pair<std::string, std::string>> who_erases() {
  const Actor actor = this_actor("erase");
  std::vector<std::pair<std::string, std::string>> who = {
      {"person", person_at_work()},
      {"login uid", actor.loginuid ? std::to_string(*actor.loginuid) : ""},
      {"uid", std::to_string(actor.uid)},
      {"terminal", actor.tty},
      {"from", actor.remote},
      {"ssh", actor.ssh},
      {"unit", actor.unit}};
  std::erase_if(who, [](const auto& one) { return one.second.empty(); });
  return who;
}

void sign_by_tpm(Envelope& envelope, std::vector<CertificateSignature>& signatures,
                 const Options& options) {
  try {
    tpm::Connection connection = tpm::Connection::connect(options.tcti);
    const auto key = tpm::AttestationKey::open_or_make(connection, options.state);
    const std::string id = EvidenceKey::from_point(key.public_point()).id();
    envelope.signatures.push_back(
        {.keyid = id,
         .bytes = key.sign(connection, signed_bytes(envelope.payload_type, envelope.payload))});
    signatures.push_back({.by = "the TPM of the machine", .key = id});
  } catch (const Error& error) {
    log::note("the TPM signs no certificate: {}", escaped(error.what()));
  }
}

void sign_by_log(Envelope& envelope, std::vector<CertificateSignature>& signatures,
                 const Options& options) {
  try {
    const AuditPlace place = audit_log_of(options);
    // What was done is below a checkpoint before it is certified; and the first one makes the key.
    static_cast<void>(audit::make_checkpoint(place));
    const auto key = audit::load_key(place.log);
    const auto last = audit::last_checkpoint(place.log);
    if (!key || !last) return;
    const std::string id = key->verifier(last->origin).text();
    envelope.signatures.push_back(
        {.keyid = id,
         .bytes = key->sign_bytes(signed_bytes(envelope.payload_type, envelope.payload))});
    signatures.push_back({.by = "the key of the audit log", .key = id});
  } catch (const Error& error) {
    log::warning("the audit log's key signs no certificate: {}", escaped(error.what()));
  }
}

// A UUID comes from a header: nothing else than that may become a file's name.
std::string file_name(const ErasureEntry& entry) {
  std::string name = entry.group;
  if (name.empty() && !entry.volumes.empty()) name = entry.volumes.front().luks_uuid;
  std::erase_if(name, [](char c) {
    return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' &&
           c != '_';
  });
  return fmt::format("{}-{}", name.substr(0, 64), entry.id);
}

}  // namespace

WrittenCertificate write_certificate(const ErasureEntry& entry, const Options& options) {
  const ErasureCertificate certificate{.entry = entry,
                                       .host = host_name(),
                                       .boot_id = boot_id(),
                                       .made_at = utc_now(),
                                       .version = VOLSEAL_VERSION,
                                       .who = who_erases()};
  WrittenCertificate written{.text = to_json(certificate)};
  Envelope envelope{.payload_type = std::string(statement_type),
                    .payload = erasure_statement(certificate, written.text),
                    .signatures = {}};
  sign_by_tpm(envelope, written.signatures, options);
  sign_by_log(envelope, written.signatures, options);
  const Path folder = entry.certificates;
  make_folder(folder);
  const std::string name = file_name(entry);
  written.json = folder / (name + ".json");
  written.page = folder / (name + ".html");
  write_file(written.json, written.text);
  if (!envelope.signatures.empty()) {
    written.envelope = folder / (name + ".dsse.json");
    write_file(written.envelope, to_json(envelope));
  }
  write_file(written.page, erasure_page(certificate, written.text, written.signatures,
                                        written.envelope.filename().native()));
  return written;
}

bool is_signed_by(const Envelope& envelope, std::string_view key, std::string_view source,
                  std::string& id) {
  const std::string bytes = signed_bytes(envelope.payload_type, envelope.payload);
  const auto by_any = [&](const auto& check) {
    return std::ranges::any_of(envelope.signatures, [&](const Envelope::Signature& signature) {
      return check(signature.bytes);
    });
  };
  if (const auto log_key = audit::VerifierKey::parse(key)) {
    id = log_key->text();
    return by_any([&](const Bytes& signature) { return log_key->signed_bytes(bytes, signature); });
  }
  const EvidenceKey tpm_key = EvidenceKey::from_pem(key, source);
  id = tpm_key.id();
  return by_any([&](const Bytes& signature) {
    return tpm_key.signed_this({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()},
                               signature);
  });
}

}  // namespace volseal
