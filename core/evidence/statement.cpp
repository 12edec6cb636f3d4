#include "core/evidence/statement.h"

#include "core/base/error.h"
#include "core/base/strict_json.h"
#include "core/evidence/envelope.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace volseal {

namespace {

using StatementJson = nlohmann::ordered_json;

constexpr std::string_view in_toto = "https://in-toto.io/Statement/v1";
constexpr std::string_view test_result = "https://in-toto.io/attestation/test-result/v0.1";
constexpr std::string_view evidence_schema = "volseal-evidence/1";
constexpr std::size_t most_tests = 100'000;
constexpr std::size_t longest_id = 4096;
constexpr std::size_t short_text = 256;
constexpr int most_pcrs = 24;

std::string view_of(const Bytes& bytes) {
  return {bytes.begin(), bytes.end()};
}

void want(const StrictJson& json, bool condition, const std::string& why) {
  if (!condition) json.fail(why);
}

std::vector<std::string> ids_in(StrictJson& json, const char* key) {
  std::vector<std::string> ids;
  for (const nlohmann::json& entry : json.array(key, 0, most_tests)) {
    want(json, entry.is_string(), "an id is not text");
    ids.push_back(entry.get<std::string>());
    want(json, ids.back().size() <= longest_id, "an id is too long");
  }
  return ids;
}

Bytes hex_in(StrictJson& json, const char* key, std::size_t least, std::size_t most) {
  const auto bytes = from_hex(json.text(key, 2 * most));
  if (!bytes || bytes->size() < least) json.fail(fmt::format("\"{}\" is no such number", key));
  return *bytes;
}

Bytes digest_in(const nlohmann::json& resource, const std::string& name, const std::string& what) {
  StrictJson json(resource, what);
  want(json, json.text("name", short_text) == name, "a name is not " + name);
  StrictJson digest(json.at("digest"), what);
  const Bytes sha256 = hex_in(digest, "sha256", 32, 32);
  digest.finish();
  json.finish();
  return sha256;
}

std::map<int, Bytes> pcrs_in(const nlohmann::json& object, const std::string& what) {
  const StrictJson json(object, what);
  std::map<int, Bytes> pcrs;
  for (const auto& [key, value] : object.items()) {
    int pcr = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), pcr);
    want(json,
         error == std::errc{} && end == key.data() + key.size() && pcr >= 0 && pcr < most_pcrs &&
             key == std::to_string(pcr),
         "there is no such PCR");
    const auto bytes = value.is_string() ? from_hex(value.get<std::string>()) : std::nullopt;
    if (!bytes || (bytes->size() != 32 && bytes->size() != 48 && bytes->size() != 64))
      json.fail("a PCR is no digest");
    pcrs[pcr] = *bytes;
  }
  want(json, !pcrs.empty(), "there are no PCRs");
  return pcrs;
}

void read_own_part(Evidence& evidence, const nlohmann::json& object, const std::string& what) {
  StrictJson json(object, what);
  want(json, json.text("schema", short_text) == evidence_schema, "written by another volseal");
  evidence.report = json.text("report", largest_evidence);
  evidence.boot_id = json.text("boot_id", short_text);
  evidence.made_at = json.text("made_at", short_text);
  evidence.nonce = hex_in(json, "nonce", least_nonce, most_nonce);
  const std::string from = json.text("nonce_from", short_text);
  want(json, from == "verifier" || from == "machine", "nobody chose the nonce");
  evidence.nonce_is_own = from == "machine";
  evidence.bank = json.text("bank", short_text);
  evidence.pcrs = pcrs_in(json.at("pcrs"), what);
  evidence.quote = json.bytes("quote", 1, 2048);
  evidence.quote_signature = json.bytes("quote_signature", 1, 256);
  json.finish();
}

void read_predicate(Evidence& evidence, const nlohmann::json& object, const std::string& what) {
  StrictJson json(object, what);
  evidence.result = json.text("result", short_text);
  want(json,
       evidence.result == "PASSED" || evidence.result == "WARNED" || evidence.result == "FAILED",
       "there is no such result");
  evidence.policy_digest = to_hex(digest_in(json.array("configuration", 1, 1)[0], "policy", what));
  evidence.passed = ids_in(json, "passedTests");
  evidence.warned = ids_in(json, "warnedTests");
  evidence.failed = ids_in(json, "failedTests");
  read_own_part(evidence, json.at("volseal"), what);
  json.finish();
}

}  // namespace

Bytes qualifying_data(std::string_view report, const Bytes& nonce) {
  return sha256_of(view_of(sha256_of(report)) + view_of(nonce));
}

std::string to_statement(const Evidence& evidence) {
  StatementJson pcrs = StatementJson::object();
  for (const auto& [pcr, value] : evidence.pcrs) pcrs[std::to_string(pcr)] = to_hex(value);
  const StatementJson resource = {{"name", "coverage"},
                                  {"digest", {{"sha256", to_hex(sha256_of(evidence.report))}}}};
  const StatementJson policy = {{"name", "policy"},
                                {"digest", {{"sha256", evidence.policy_digest}}}};
  const StatementJson own = {{"schema", evidence_schema},
                             {"report", evidence.report},
                             {"boot_id", evidence.boot_id},
                             {"made_at", evidence.made_at},
                             {"nonce", to_hex(evidence.nonce)},
                             {"nonce_from", evidence.nonce_is_own ? "machine" : "verifier"},
                             {"bank", evidence.bank},
                             {"pcrs", std::move(pcrs)},
                             {"quote", to_base64(evidence.quote)},
                             {"quote_signature", to_base64(evidence.quote_signature)}};
  const StatementJson json = {{"_type", in_toto},
                              {"subject", StatementJson::array({resource})},
                              {"predicateType", test_result},
                              {"predicate",
                               {{"result", evidence.result},
                                {"configuration", StatementJson::array({policy})},
                                {"passedTests", evidence.passed},
                                {"warnedTests", evidence.warned},
                                {"failedTests", evidence.failed},
                                {"volseal", own}}}};
  return json.dump(-1, ' ', true);
}

Evidence parse_statement(std::string_view text) {
  const std::string what = "evidence";
  try {
    const nlohmann::json parsed = StrictJson::parse(text, largest_evidence, what);
    StrictJson json(parsed, what);
    want(json, json.text("_type", short_text) == in_toto, "not an in-toto statement, version 1");
    want(json, json.text("predicateType", short_text) == test_result, "not a test result");
    const Bytes subject = digest_in(json.array("subject", 1, 1)[0], "coverage", what);
    Evidence evidence;
    read_predicate(evidence, json.at("predicate"), what);
    json.finish();
    want(json, subject == sha256_of(evidence.report), "the report is not the one that was signed");
    return evidence;
  } catch (const Error& error) {
    throw Error(Code::bad_evidence, "{}", error.what());
  }
}

}  // namespace volseal
