// volseal evidence: the attestation key, and whether evidence is what it says.
#include "cli/evidence.h"

#include "cli/erase_certificate.h"
#include "cli/output.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/report/changes.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>

namespace volseal {
namespace {

struct VerifyRequest {
  Path file;
  Path key;
  std::optional<std::string> nonce;
  Path report;
  bool json = false;
};

int print_key(const Path& output, const Options& options) {
  tpm::Connection connection = tpm::Connection::connect(options.tcti);
  const auto key = tpm::AttestationKey::open_or_make(connection, options.state);
  const std::string pem = EvidenceKey::from_point(key.public_point()).pem();
  if (output.empty()) {
    print_out(pem);
  } else {
    write_file(output, pem);
  }
  return 0;
}

std::string nonce_words(const Evidence& evidence, bool asked) {
  if (asked) return "yours, so it was made after you chose it";
  if (evidence.nonce_is_own) return "the machine's own: when it was made is its word only";
  return "somebody's; name yours with --nonce to know that it was made for you";
}

std::string volumes_words(const EarlierReport& report) {
  std::map<Verdict, int> counts;
  for (const EarlierVolume& volume : report.volumes) ++counts[volume.verdict];
  std::string out;
  for (const auto& [verdict, count] : counts)
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", count, to_string(verdict));
  return out.empty() ? "no volumes" : out;
}

std::string verified_text(const Verified& verified, const EarlierReport& report,
                          const EvidenceKey& key, bool asked) {
  const Evidence& evidence = verified.evidence;
  const tpm::QuoteFacts& quote = verified.quote;
  std::string text = fmt::format("host      {}\n", escaped(report.host));
  text += fmt::format("made at   {}\n", escaped(evidence.made_at));
  text += fmt::format("result    {}: {}\n", evidence.result, volumes_words(report));
  text += fmt::format("policy    SHA-256 {}\n", evidence.policy_digest);
  text += fmt::format("nonce     {}\n", nonce_words(evidence, asked));
  text += fmt::format("boot      {}\n", escaped(evidence.boot_id));
  text += fmt::format("key       {}\n", key.id());
  text += fmt::format(
      "TPM       its clock stands at {}\n",
      human_duration(std::chrono::seconds(static_cast<std::int64_t>(quote.clock_ms / 1000))));
  for (const auto& [pcr, value] : evidence.pcrs) {
    if (std::ranges::any_of(value, [](std::uint8_t byte) { return byte != 0; }))
      text += fmt::format("PCR {:<5} {}\n", pcr, to_hex(value));
  }
  return text +
         "\nThe TPM that has this key signed this report in this state. That root on that machine "
         "told\nthe truth is not in a TPM's power to say: compare the PCRs with what you know.\n";
}

std::string verified_json(const Verified& verified, const EarlierReport& report,
                          const EvidenceKey& key, bool asked) {
  using VerifiedJson = nlohmann::ordered_json;
  const Evidence& evidence = verified.evidence;
  VerifiedJson pcrs = VerifiedJson::object();
  for (const auto& [pcr, value] : evidence.pcrs) pcrs[std::to_string(pcr)] = to_hex(value);
  const VerifiedJson json = {{"schema", "volseal-verified/1"},
                             {"host", report.host},
                             {"made_at", evidence.made_at},
                             {"result", evidence.result},
                             {"volumes", report.volumes.size()},
                             {"failed", evidence.failed},
                             {"policy_digest", evidence.policy_digest},
                             {"nonce_checked", asked},
                             {"boot_id", evidence.boot_id},
                             {"key", key.id()},
                             {"bank", evidence.bank},
                             {"pcrs", std::move(pcrs)},
                             {"tpm_resets", verified.quote.resets},
                             {"tpm_restarts", verified.quote.restarts},
                             {"tpm_clock_ms", verified.quote.clock_ms},
                             {"tpm_firmware", verified.quote.firmware}};
  return json.dump(1, ' ', true) + "\n";
}

int print_verified_erasure(const VerifyRequest& request, const Envelope& envelope,
                           const std::string& id) {
  if (request.nonce || !request.report.empty())
    throw Error(Code::usage, "verify {}: a certificate of erasure has no nonce and no report",
                request.file.native());
  const ErasureFacts facts = parse_erasure_statement(envelope.payload);
  if (request.json) {
    print_out(facts.json);
    return 0;
  }
  std::string text =
      fmt::format("erased    {} of {}\n", escaped(facts.target), escaped(facts.host));
  text += fmt::format("certified {}, by {}\n", escaped(facts.made_at), escaped(facts.person));
  text += fmt::format("key       {}\n", escaped(id, 512));
  for (const ErasureFacts::Volume& volume : facts.volumes) {
    text += fmt::format("\n{}, LUKS {}, erased at {}\n", escaped(volume.path),
                        escaped(volume.luks_uuid), escaped(volume.erased_at));
    for (const std::string& serial : volume.serials)
      text += serial.empty() ? "" : fmt::format("  serial number {}\n", escaped(serial));
    for (const ErasedArea& area : volume.areas) {
      text += fmt::format("  {}: {} bytes at byte {} have SHA-256 {}{}\n", escaped(area.what),
                          area.bytes, area.offset, escaped(area.sha256),
                          area.direct ? "" : " (read through the page cache)");
    }
  }
  for (const std::string& left : facts.still_exists)
    text += fmt::format("\nstill exists: {}", escaped(left, 4096));
  print_out(text +
            "\nWho has this key signed this. On the disk, 'dd' and 'sha256sum' show "
            "whether the areas still are so.\n");
  return 0;
}

int print_verified(const VerifyRequest& request) {
  const auto nonce = parse_nonce(request.nonce);
  // Nothing of what it says is looked at before it is known who says it.
  const std::string pem = read_file(request.key);
  const Envelope envelope = parse_envelope(read_file(request.file, largest_evidence));
  std::string id;
  if (!is_signed_by(envelope, pem, request.key.native(), id))
    throw Error(Code::bad_evidence, "verify evidence: it is not signed by that key");
  if (envelope.payload_type == statement_type && is_erasure_statement(envelope.payload))
    return print_verified_erasure(request, envelope, id);
  const EvidenceKey key = EvidenceKey::from_pem(pem, request.key.native());
  const Verified verified = verify_evidence(read_file(request.file, largest_evidence), key, nonce);
  const EarlierReport report =
      parse_earlier_report(verified.evidence.report, request.file.native());
  if (!request.report.empty()) write_file(request.report, verified.evidence.report);
  print_out(request.json ? verified_json(verified, report, key, nonce.has_value())
                         : verified_text(verified, report, key, nonce.has_value()));
  return 0;
}

}  // namespace

void add_evidence(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("evidence", "the key that signs evidence, and checking what was signed");
  verb->require_subcommand(1);

  CLI::App* key = verb->add_subcommand(
      "key", "print the public attestation key of this TPM, made where there is none yet");
  const auto output = std::make_shared<Path>();
  key->add_option("--output", *output, "write it there")->type_name("FILE");
  key->callback([&session, output] { session.status = print_key(*output, session.options); });

  CLI::App* verify = verb->add_subcommand(
      "verify",
      "check evidence or a certificate of erasure by a machine's public key; needs no TPM");
  const auto request = std::make_shared<VerifyRequest>();
  verify
      ->add_option("FILE", request->file,
                   "what 'volseal check --evidence' or 'volseal erase' wrote")
      ->required();
  verify
      ->add_option("--key", request->key,
                   "that machine's public key, as 'evidence key' printed it; of a certificate also "
                   "'audit key'")
      ->required()
      ->type_name("FILE");
  verify->add_option("--nonce", request->nonce, "what was asked for, in hexadecimal")
      ->type_name("HEX");
  verify->add_option("--report", request->report, "write the report there, once it is verified")
      ->type_name("FILE");
  verify->add_flag("--json", request->json, "what was verified as JSON");
  verify->footer("Exit status: 0 it is what it says, 5 it is not.");
  verify->callback([&session, request] { session.status = print_verified(*request); });
}

}  // namespace volseal
