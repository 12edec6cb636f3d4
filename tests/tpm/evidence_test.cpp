// Evidence made with a TPM, and checked without one, as people run it.
#include "core/base/base64.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/process.h"
#include "core/evidence/envelope.h"
#include "core/evidence/statement.h"
#include "tests/support/swtpm.h"
#include "tpm/attestation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

namespace volseal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

constexpr int refused = 5;
const std::string nonce = "000102030405060708090a0b0c0d0e0f";

class EvidenceTest : public ::testing::Test {
 protected:
  EvidenceTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "volseal-evidence.XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
    swtpm.extend(7, "firmware");
    write_file(folder / "policy.toml", "");
  }
  ~EvidenceTest() override { std::filesystem::remove_all(folder); }

  ProcessResult volseal(std::vector<std::string> arguments, const std::string& tcti) const {
    arguments.insert(arguments.begin(), {VOLSEAL_BINARY, "--tcti", tcti, "--policy",
                                         path("policy.toml"), "--state", path("state")});
    return run(arguments);
  }
  ProcessResult volseal(const std::vector<std::string>& arguments) const {
    return volseal(arguments, swtpm.tcti());
  }
  std::string path(const std::string& name) const { return (folder / name).native(); }

  // Status 0: the machine of that graph is covered, but for the pages that the policy asks of it.
  void make(const std::string& name = "evidence.json") const {
    const ProcessResult made =
        volseal({"check", "--graph", VOLSEAL_TEST_DATA "/done.json", "--evidence", path(name),
                 "--nonce", nonce, "--format", "icinga"});
    ASSERT_LE(made.status, 2) << made.output;
    ASSERT_EQ(volseal({"evidence", "key", "--output", path("key.pem")}).status, 0);
  }
  // On a machine without a TPM.
  ProcessResult verify(const std::vector<std::string>& more = {},
                       const std::string& name = "evidence.json") const {
    std::vector<std::string> arguments = {"evidence", "verify", path(name), "--key",
                                          path("key.pem")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return volseal(arguments, "device:/nonexistent");
  }

  Json envelope() const { return Json::parse(read_file(folder / "evidence.json")); }
  static Json payload_of(const Json& envelope) {
    const auto bytes = from_base64(envelope.at("payload").get<std::string>());
    return Json::parse(std::string(bytes->begin(), bytes->end()));
  }
  void save(Json envelope, const Json& payload) const {
    const std::string text = payload.dump(-1, ' ', true);
    envelope["payload"] =
        to_base64({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    write_file(folder / "evidence.json", envelope.dump());
  }
  // Signed again by this TPM's own key, as root on the machine could: what is in it must still fit.
  void save_signed(const Json& payload) {
    tpm::Connection connection = tpm::Connection::connect(swtpm.tcti());
    const auto key = tpm::AttestationKey::open_or_make(connection, folder / "state");
    Envelope signed_again{.payload_type = std::string(statement_type),
                          .payload = payload.dump(-1, ' ', true)};
    signed_again.signatures.push_back(
        {.keyid = "",
         .bytes =
             key.sign(connection, signed_bytes(signed_again.payload_type, signed_again.payload))});
    write_file(folder / "evidence.json", to_json(signed_again));
  }

  test::Swtpm swtpm;
  Path folder;
};

TEST_F(EvidenceTest, IsVerifiedOnAnotherMachineWithThePublicKeyAlone) {
  make();
  const ProcessResult good = verify({"--nonce", nonce, "--report", path("report.json")});
  EXPECT_EQ(good.status, 0) << good.output;
  EXPECT_THAT(good.output, HasSubstr("yours, so it was made after you chose it"));
  EXPECT_THAT(good.output, HasSubstr("host      demo"));
  EXPECT_THAT(read_file(folder / "report.json"), HasSubstr("volseal-coverage/1"));
  const Json told = Json::parse(verify({"--json"}).output);
  EXPECT_EQ(told.at("nonce_checked"), false);
  EXPECT_EQ(told.at("pcrs").size(), 16U);
  EXPECT_THAT(verify().output, HasSubstr("name yours with --nonce"));
}

// Nothing of ours takes part: openssl over what DSSE says is signed.
TEST_F(EvidenceTest, OpensslVerifiesTheEnvelope) {
  make();
  const Envelope parsed = parse_envelope(read_file(folder / "evidence.json"));
  write_file(folder / "pae", signed_bytes(parsed.payload_type, parsed.payload));
  const Bytes& signature = parsed.signatures.at(0).bytes;
  write_file(folder / "sig", std::string(signature.begin(), signature.end()));
  const ProcessResult checked = run({"openssl", "dgst", "-sha256", "-verify", path("key.pem"),
                                     "-signature", path("sig"), path("pae")});
  EXPECT_EQ(checked.status, 0) << checked.output;
}

TEST_F(EvidenceTest, AnotherNonceIsRefused) {
  make();
  const ProcessResult other = verify({"--nonce", "ff0102030405060708090a0b0c0d0e0f"});
  EXPECT_EQ(other.status, refused);
  EXPECT_THAT(other.output, HasSubstr("another nonce"));
}

TEST_F(EvidenceTest, AnotherKeyIsRefused) {
  make();
  run_or_throw(
      {"openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path("other")});
  run_or_throw({"openssl", "ec", "-in", path("other"), "-pubout", "-out", path("key.pem")});
  const ProcessResult other = verify();
  EXPECT_EQ(other.status, refused);
  EXPECT_THAT(other.output, HasSubstr("not signed by that key"));
}

TEST_F(EvidenceTest, AChangedReportIsRefused) {
  make();
  const Json whole = envelope();
  Json payload = payload_of(whole);
  std::string report = payload["predicate"]["volseal"]["report"];
  report.replace(report.find("demo"), 4, "prod");
  payload["predicate"]["volseal"]["report"] = report;
  save(whole, payload);
  EXPECT_THAT(verify().output, HasSubstr("not signed by that key"));
  EXPECT_EQ(verify().status, refused);

  // Even the machine's own root cannot put another report before an old quote.
  save_signed(payload);
  EXPECT_THAT(verify().output, HasSubstr("not the one that was signed"));
  payload["subject"][0]["digest"]["sha256"] = to_hex(sha256_of(report));
  save_signed(payload);
  EXPECT_THAT(verify().output, HasSubstr("quote is for another report"));
  EXPECT_EQ(verify().status, refused);
}

TEST_F(EvidenceTest, ChangedPcrsNoncesResultsAndBootsAreRefused) {
  make();
  const Json whole = payload_of(envelope());
  const auto refusal = [&](auto change) {
    Json payload = whole;
    change(payload["predicate"], payload["predicate"]["volseal"]);
    save_signed(payload);
    const ProcessResult result = verify();
    EXPECT_EQ(result.status, refused);
    return result.output;
  };
  EXPECT_THAT(refusal([](Json&, Json& own) { own["pcrs"]["7"] = std::string(64, '0'); }),
              HasSubstr("not those that the TPM has quoted"));
  EXPECT_THAT(refusal([](Json&, Json& own) { own["pcrs"].erase("3"); }),
              HasSubstr("not those that the TPM has quoted"));
  EXPECT_THAT(refusal([](Json&, Json& own) { own["nonce"] = std::string(32, '7'); }),
              HasSubstr("another nonce"));
  EXPECT_THAT(refusal([](Json& predicate, Json&) {
                predicate["result"] = predicate["result"] == "PASSED" ? "FAILED" : "PASSED";
              }),
              HasSubstr("not about the report"));
  EXPECT_THAT(refusal([](Json&, Json& own) { own["boot_id"] = "another"; }),
              HasSubstr("not about the report"));
  EXPECT_THAT(refusal([](Json&, Json& own) { own["quote_signature"] = "AAAA"; }),
              HasSubstr("quote is not signed"));
  EXPECT_THAT(refusal([](Json&, Json& own) {
                Bytes quote = *from_base64(own["quote"].get<std::string>());
                quote.back() ^= 1;
                own["quote"] = to_base64(quote);
              }),
              HasSubstr("quote is not signed"));
  EXPECT_THAT(refusal([](Json&, Json& own) { own["more"] = 1; }), HasSubstr("unknown key"));
  EXPECT_EQ(payload_of(envelope())["predicate"]["volseal"].contains("more"), true);
}

TEST_F(EvidenceTest, AnOldQuoteDoesNotServeAnotherNonce) {
  make();
  Json payload = payload_of(envelope());
  const Json old = payload["predicate"]["volseal"];
  swtpm.extend(7, "something else was booted");
  const ProcessResult again =
      volseal({"check", "--graph", VOLSEAL_TEST_DATA "/done.json", "--evidence",
               path("evidence.json"), "--nonce", "aa" + nonce, "--format", "icinga"});
  ASSERT_LE(again.status, 2) << again.output;
  payload = payload_of(envelope());
  EXPECT_NE(payload["predicate"]["volseal"]["pcrs"]["7"], old["pcrs"]["7"]);
  for (const char* part : {"pcrs", "quote", "quote_signature"})
    payload["predicate"]["volseal"][part] = old[part];
  save_signed(payload);
  EXPECT_THAT(verify({"--nonce", "aa" + nonce}).output, HasSubstr("quote is for another report"));
}

TEST_F(EvidenceTest, TheKeyStaysAndIsOfThisTpmOnly) {
  make();
  const std::string key = volseal({"evidence", "key"}).output;
  EXPECT_THAT(key, HasSubstr("BEGIN PUBLIC KEY"));
  swtpm.restart();
  EXPECT_EQ(volseal({"evidence", "key"}).output, key);
  const test::Swtpm other;
  const ProcessResult stolen = volseal({"check", "--graph", VOLSEAL_TEST_DATA "/done.json",
                                        "--evidence", path("stolen.json"), "--format", "icinga"},
                                       other.tcti());
  EXPECT_NE(stolen.status, 0);
  EXPECT_FALSE(std::filesystem::exists(folder / "stolen.json"));
}

// The count itself is the TPM's secret.
TEST_F(EvidenceTest, TwoQuotesTellHowOftenItWasBooted) {
  const auto resets = [&] {
    make();
    return Json::parse(verify({"--json"}).output).at("tpm_resets").get<std::uint32_t>();
  };
  const std::uint32_t before = resets();
  EXPECT_EQ(resets(), before);
  swtpm.restart();
  EXPECT_EQ(resets(), before + 1);
}

TEST_F(EvidenceTest, NothingStaysBehindInTheTpm) {
  make();
  EXPECT_EQ(test::handles_in(swtpm), 0U);
}

TEST_F(EvidenceTest, ShortNoncesAreNoNonces) {
  for (const char* bad : {"00", "zz", "0", "000102030405060708090a0b0c0d0e"}) {
    EXPECT_EQ(volseal({"check", "--graph", VOLSEAL_TEST_DATA "/done.json", "--evidence",
                       path("evidence.json"), "--nonce", bad})
                  .status,
              64);
  }
}

// A variable that a script forgot to set.
TEST_F(EvidenceTest, AnEmptyNonceIsNoneToVerifyBy) {
  make();
  EXPECT_EQ(verify({"--nonce", ""}).status, 64);
  EXPECT_EQ(verify({"--nonce="}).status, 64);
}

TEST_F(EvidenceTest, WithoutANonceItSaysThatItProvesNoTime) {
  const ProcessResult made = volseal({"check", "--graph", VOLSEAL_TEST_DATA "/done.json",
                                      "--evidence", path("evidence.json"), "--format", "icinga"});
  ASSERT_LE(made.status, 2) << made.output;
  ASSERT_EQ(volseal({"evidence", "key", "--output", path("key.pem")}).status, 0);
  EXPECT_THAT(verify().output, HasSubstr("the machine's own"));
}

TEST_F(EvidenceTest, OfAHiddenMachineNamesNobody) {
  const Path key = folder / "words";
  write_file(key, "a key of more than 16 bytes");
  const ProcessResult made =
      volseal({"check", "--graph", VOLSEAL_TEST_DATA "/done.json", "--evidence",
               path("evidence.json"), "--pseudonymize", key.native(), "--format", "icinga"});
  ASSERT_LE(made.status, 2) << made.output;
  ASSERT_EQ(volseal({"evidence", "key", "--output", path("key.pem")}).status, 0);
  EXPECT_THAT(verify().output, HasSubstr("host      host-"));
  const std::string payload = payload_of(envelope()).dump();
  const Json graph = Json::parse(read_file(VOLSEAL_TEST_DATA "/done.json"));
  EXPECT_THAT(payload, Not(HasSubstr(graph.at("boot_id").get<std::string>())));
  for (const Json& device : graph.at("devices")) {
    if (!device.contains("luks")) continue;
    EXPECT_THAT(payload, Not(HasSubstr(device["luks"]["uuid"].get<std::string>())));
  }
}

TEST_F(EvidenceTest, GarbageIsRefused) {
  make();
  for (const char* garbage : {"", "{}", "[]", R"({"payloadType":"a","payload":"","signatures":[]})",
                              R"({"payloadType":"a","payload":"YQ==","signatures":[]})"}) {
    write_file(folder / "evidence.json", garbage);
    EXPECT_EQ(verify().status, refused) << garbage;
  }
}

}  // namespace
}  // namespace volseal
