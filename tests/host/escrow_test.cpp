// Escrow: Shamir's shares, CMS that the openssl program opens, certificates that are refused, and
// destinations that say no.
#include "core/escrow/escrow.h"

#include "core/base/base64.h"
#include "core/base/error.h"
#include "core/escrow/cms.h"
#include "core/escrow/content.h"
#include "core/escrow/delivery.h"
#include "core/escrow/recover.h"
#include "core/escrow/shamir.h"
#include "core/protect/recovery_key.h"
#include "tests/support/certificates.h"
#include "tests/support/image.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <ctime>

namespace volseal::escrow {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string uuid = "6d38bbf5-6ab2-4d0c-9a5b-4a3a3c1f9a11";
const std::string other_uuid = "11111111-6ab2-4d0c-9a5b-4a3a3c1f9a11";

// The code and the words of what is thrown.
template <typename F>
std::pair<Code, std::string> failure_of(F action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {Code::internal, "nothing was thrown"};
}

std::string text(const Secret& secret) {
  return std::string(secret.view());
}

TEST(ShamirTest, MultipliesAsAesDoes) {
  // FIPS 197 section 4.2, and the field by powers of its generator 3.
  EXPECT_EQ(field::multiply(0x57, 0x83), 0xc1);
  EXPECT_EQ(field::multiply(0x53, 0xca), 0x01);
  std::array<unsigned, 255> power{};
  std::array<unsigned, 256> logarithm{};
  unsigned value = 1;
  for (unsigned i = 0; i < power.size(); ++i) {
    power[i] = value;
    logarithm[value] = i;
    const unsigned twice = value << 1U;
    value ^= twice > 0xff ? twice ^ 0x11bU : twice;
  }
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      const unsigned wanted = a == 0 || b == 0 ? 0 : power[(logarithm[a] + logarithm[b]) % 255];
      ASSERT_EQ(field::multiply(static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b)), wanted)
          << a << " " << b;
    }
    const auto inverse = field::inverse(static_cast<std::uint8_t>(a));
    EXPECT_EQ(field::multiply(static_cast<std::uint8_t>(a), inverse), a == 0 ? 0 : 1);
  }
}

TEST(ShamirTest, AnyThresholdOfTheSharesGivesTheSecretAndFewerDoNot) {
  const Secret secret = new_recovery_key();
  const std::vector<Share> shares = split(secret, 3, 5);
  ASSERT_THAT(shares, SizeIs(5));
  for (const Share& a : shares) {
    for (const Share& b : shares) {
      if (b.number <= a.number) continue;
      EXPECT_FALSE(combine({&a, &b}).equal(secret));
      for (const Share& c : shares) {
        if (c.number <= b.number) continue;
        EXPECT_TRUE(combine({&c, &a, &b}).equal(secret));
      }
    }
  }
  EXPECT_TRUE(combine({&shares[0], &shares[1], &shares[2], &shares[4]}).equal(secret));
}

Content whole(const std::string& of = uuid) {
  return {.luks_uuid = of,
          .host = "host",
          .group = "default",
          .date = "2026-05-01T12:00:00.000Z",
          .value = new_recovery_key()};
}

// As the escrow of a policy with that threshold would make them.
std::vector<OpenedBlob> shares_of(const Secret& key, int threshold, int count,
                                  const std::string& of = uuid, const std::string& set = "00") {
  ShareOf share{.set = std::string(14, '0') + set,
                .of = count,
                .threshold = threshold,
                .key_digest = digest_of_key(of, key)};
  const auto parts = split(key, threshold, count);
  for (const Share& part : parts) {
    share.share_digests.push_back(digest_of_share(of, share, part.number, part.value));
  }
  std::vector<OpenedBlob> blobs;
  for (const Share& part : parts) {
    Content content = whole(of);
    share.number = part.number;
    content.share = share;
    content.value = part.value.clone();
    blobs.push_back({.name = "blob-" + std::to_string(part.number), .content = std::move(content)});
  }
  return blobs;
}

std::vector<OpenedBlob> some(std::vector<OpenedBlob>& blobs,
                             const std::vector<std::size_t>& which) {
  std::vector<OpenedBlob> chosen;
  for (const std::size_t at : which) {
    chosen.push_back(
        {.name = blobs[at].name, .content = parse_content(to_json(blobs[at].content))});
  }
  return chosen;
}

TEST(EscrowContentTest, ReadsWhatItWrites) {
  const Content content = whole();
  const Content read = parse_content(to_json(content));
  EXPECT_EQ(read.luks_uuid, uuid);
  EXPECT_EQ(read.host, "host");
  EXPECT_FALSE(read.share);
  EXPECT_TRUE(read.value.equal(content.value));
  const auto json = nlohmann::json::parse(text(to_json(content)));
  EXPECT_EQ(json["schema"], "volseal-escrow/1");
  EXPECT_EQ(json["recovery_key"], text(content.value));

  const auto blobs = shares_of(content.value, 2, 3);
  const Content share = parse_content(to_json(blobs[1].content));
  EXPECT_EQ(share.share, blobs[1].content.share);
  EXPECT_TRUE(share.value.equal(blobs[1].content.value));
}

TEST(EscrowContentTest, RefusesWhatIsNotExactlyThat) {
  const auto read = [](const std::string& json) {
    return failure_of([&] { parse_content(Secret::copy_of(json)); }).first;
  };
  for (const char* json : {" ", "[]", "{}", "nonsense", R"({"schema":"volseal-escrow/2"})"}) {
    EXPECT_EQ(read(json), Code::bad_blob) << json;
  }
  EXPECT_EQ(read(std::string(20000, '[')), Code::bad_blob);
  const Secret key = new_recovery_key();
  const auto good = nlohmann::json::parse(text(to_json(whole())));
  const auto share = nlohmann::json::parse(text(to_json(shares_of(key, 2, 3)[0].content)));
  for (const auto& original : {good, share}) {
    for (const auto& [name, value] : original.items()) {
      auto json = original;
      json.erase(name);
      EXPECT_EQ(read(json.dump()), Code::bad_blob) << "without " << name;
      json[name] = nlohmann::json::array();
      EXPECT_EQ(read(json.dump()), Code::bad_blob) << name << " as a list";
      json[name] = std::string(300, 'x');
      EXPECT_EQ(read(json.dump()), Code::bad_blob) << name << " too long";
    }
    auto json = original;
    json["more"] = 1;
    EXPECT_EQ(read(json.dump()), Code::bad_blob);
  }
  for (const auto& [name, value] :
       {std::pair{"number", 4}, {"number", 0}, {"of", 1}, {"of", 17}, {"threshold", 4}}) {
    auto json = share;
    json[name] = value;
    EXPECT_EQ(read(json.dump()), Code::bad_blob) << name << value;
  }
}

TEST(RecoverTest, TakesEnoughSharesInAnyOrder) {
  const Secret key = new_recovery_key();
  auto blobs = shares_of(key, 2, 3);
  EXPECT_TRUE(recover(some(blobs, {2, 0})).key.equal(key));
  EXPECT_TRUE(recover(some(blobs, {0, 0, 1})).key.equal(key));
  EXPECT_TRUE(recover(some(blobs, {0, 1, 2})).key.equal(key));
  EXPECT_EQ(recover(some(blobs, {0, 1})).luks_uuid, uuid);
}

TEST(RecoverTest, SaysWhichShareIsWrong) {
  const Secret key = new_recovery_key();
  auto blobs = shares_of(key, 2, 3);
  EXPECT_THAT(
      failure_of([&] { recover(some(blobs, {1, 1})); }),
      ::testing::Pair(Code::wrong_secret, HasSubstr("2 of its 3 shares are needed, and 1")));
  EXPECT_EQ(failure_of([&] { recover({}); }).first, Code::wrong_secret);

  auto mixed = some(blobs, {0, 1});
  auto others = shares_of(key, 2, 3, other_uuid);
  mixed.push_back(std::move(others[2]));
  EXPECT_THAT(failure_of([&] { recover(mixed); }),
              ::testing::Pair(Code::bad_blob, AllOf(HasSubstr("blob-3"), HasSubstr(other_uuid))));

  mixed = some(blobs, {0, 1});
  auto renewed = shares_of(new_recovery_key(), 2, 3, uuid, "01");
  mixed.push_back(std::move(renewed[2]));
  EXPECT_THAT(
      failure_of([&] { recover(mixed); }),
      ::testing::Pair(Code::bad_blob, AllOf(HasSubstr("blob-3"), HasSubstr("another key"))));

  // One holder gives another value: the digests in all shares tell.
  mixed = some(blobs, {0, 1, 2});
  mixed[1].content.value.bytes()[5] ^= 1U;
  EXPECT_THAT(failure_of([&] { recover(mixed); }),
              ::testing::Pair(Code::bad_blob, AllOf(HasSubstr("blob-2"), HasSubstr("changed"))));
  // He gives the digest that fits it, too: two others contradict.
  ShareOf& forged = *mixed[1].content.share;
  forged.share_digests[1] = digest_of_share(uuid, forged, 2, mixed[1].content.value);
  EXPECT_THAT(
      failure_of([&] { recover(mixed); }),
      ::testing::Pair(Code::bad_blob, AllOf(HasSubstr("blob-2"), HasSubstr("contradicts"))));

  mixed = some(blobs, {0, 1});
  mixed.push_back({.name = "whole", .content = whole()});
  EXPECT_THAT(failure_of([&] { recover(mixed); }),
              ::testing::Pair(Code::bad_blob, HasSubstr("give it alone")));
}

class EscrowTest : public ImageTest {
 protected:
  Certificate read(const test::Holder& holder) const {
    return read_certificate(holder.certificate, std::time(nullptr));
  }

  // Why it is refused.
  std::string refusal(const Path& file, std::optional<std::time_t> at = {}) const {
    const std::time_t now = at.value_or(std::time(nullptr));
    const auto [code, what] = failure_of([&] { read_certificate(file, now); });
    EXPECT_EQ(code, Code::escrow_refused) << what;
    return what;
  }
  std::string refusal(const std::string& name, const test::HolderOptions& options) const {
    const Path certificate = test::holder(folder, name, options).certificate;
    return refusal(certificate);
  }

  PrivateKey key_of(const test::Holder& holder) const {
    return PrivateKey::load(holder.key.native(), {});
  }

  Path program(const std::string& script) const {
    const Path path = folder / "escrow-put";
    write_file(path, "#!/bin/sh\n" + script);
    std::filesystem::permissions(path, std::filesystem::perms(0755));
    return path;
  }

  // What the openssl program finds in it.
  ProcessResult openssl_opens(const std::string& pem, const test::Holder& holder) const {
    write_file(folder / "blob.cms", pem);
    return run({"openssl", "cms", "-decrypt", "-inform", "PEM", "-in",
                (folder / "blob.cms").native(), "-inkey", holder.key.native(), "-recip",
                holder.certificate.native()});
  }
};

TEST_F(EscrowTest, OpensslOpensWhatAnyRecipientGot) {
  const auto alice =
      test::holder(folder, "alice", {.usage = "keyEncipherment", .key = test::rsa(3072)});
  const auto bob = test::holder(folder, "bob");
  const auto carol =
      test::holder(folder, "carol", {.key = {"EC", "-pkeyopt", "ec_paramgen_curve:P-521"}});
  const auto mallory = test::holder(folder, "mallory");
  const Certificate a = read(alice);
  const Certificate b = read(bob);
  const Certificate c = read(carol);
  const Content content = whole();
  const std::string pem = seal(to_json(content), {&a, &b, &c});
  EXPECT_THAT(pem, ::testing::StartsWith("-----BEGIN CMS-----"));

  for (const auto& holder : {alice, bob, carol}) {
    const ProcessResult opened = openssl_opens(pem, holder);
    ASSERT_EQ(opened.status, 0) << opened.output;
    EXPECT_EQ(nlohmann::json::parse(opened.output)["recovery_key"], text(content.value));
    const auto mine = Blob(pem).open(key_of(holder));
    ASSERT_TRUE(mine);
    EXPECT_TRUE(parse_content(*mine).value.equal(content.value));
  }
  EXPECT_NE(openssl_opens(pem, mallory).status, 0);
  EXPECT_FALSE(Blob(pem).open(key_of(mallory)));
  EXPECT_THAT(Blob(pem).recipients(),
              ElementsAre(HasSubstr("CN=alice"), HasSubstr("CN=bob"), HasSubstr("CN=carol")));

  const std::string shown = run_or_throw({"openssl", "cms", "-cmsout", "-print", "-noout",
                                          "-inform", "PEM", "-in", (folder / "blob.cms").native()})
                                .output;
  for (const char* wanted : {"id-smime-ct-authEnvelopedData", "aes-256-gcm", "rsaesOaep", "mgf1",
                             "sha256", "dhSinglePass-stdDH-sha256kdf-scheme", "id-aes256-wrap"}) {
    EXPECT_THAT(shown, HasSubstr(wanted));
  }
}

TEST_F(EscrowTest, ATamperedBlobOpensNothing) {
  const auto bob = test::holder(folder, "bob");
  const Certificate certificate = read(bob);
  write_file(folder / "blob.cms", seal(to_json(whole()), {&certificate}));
  run_or_throw({"openssl", "cms", "-cmsout", "-inform", "PEM", "-in",
                (folder / "blob.cms").native(), "-outform", "DER", "-out",
                (folder / "blob.der").native()});
  const std::string der = read_file(folder / "blob.der");
  const PrivateKey key = key_of(bob);
  ASSERT_TRUE(Blob(der).open(key));
  for (std::size_t at = 0; at < der.size(); at += 7) {
    std::string changed = der;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    try {
      const auto opened = Blob(changed).open(key);
      // Names of recipients are not protected, and do not matter.
      if (!opened) continue;
      EXPECT_EQ(opened->view(), Blob(der).open(key)->view()) << at;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_blob) << error.what();
    }
  }
  // The content itself, and its tag at the end.
  for (const std::size_t back : {1UL, 16UL, 60UL}) {
    std::string changed = der;
    changed[der.size() - back] = static_cast<char>(changed[der.size() - back] ^ 1);
    EXPECT_FALSE(Blob(changed).open(key)) << back;
  }
}

TEST_F(EscrowTest, WhatIsNoBlobIsSaidToBeNone) {
  const auto refused = [](const std::string& bytes) {
    return failure_of([&] { Blob blob(bytes); }).first;
  };
  EXPECT_EQ(refused(""), Code::bad_blob);
  EXPECT_EQ(refused("garbage"), Code::bad_blob);
  EXPECT_EQ(refused("-----BEGIN CMS-----\nAAAA\n-----END CMS-----\n"), Code::bad_blob);
  EXPECT_EQ(refused(std::string(largest_blob + 1, '0')), Code::bad_blob);
  // CMS without authentication.
  const auto bob = test::holder(folder, "bob");
  write_file(folder / "text", "text");
  run_or_throw({"openssl", "cms", "-encrypt", "-aes-256-cbc", "-outform", "PEM", "-in",
                (folder / "text").native(), "-out", (folder / "plain.cms").native(),
                bob.certificate.native()});
  EXPECT_EQ(refused(read_file(folder / "plain.cms")), Code::bad_blob);
}

TEST_F(EscrowTest, AKeyWithAPassphraseAsksForItOnce) {
  const auto bob = test::holder(folder, "bob");
  const Path locked = folder / "locked.key";
  run_or_throw({"openssl", "pkey", "-in", bob.key.native(), "-aes256", "-passout", "pass:sesame",
                "-out", locked.native()});
  const Certificate certificate = read(bob);
  const Blob blob(seal(to_json(whole()), {&certificate}));
  int asked = 0;
  const auto say = [&](const char* answer) {
    return [&asked, answer](const std::string& whose) {
      EXPECT_THAT(whose, HasSubstr("locked.key"));
      ++asked;
      return answer == nullptr ? std::nullopt : std::optional(Secret::copy_of(answer));
    };
  };
  EXPECT_TRUE(blob.open(PrivateKey::load(locked.native(), say("sesame"))));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(failure_of([&] { PrivateKey::load(locked.native(), say("wrong")); }).first,
            Code::wrong_secret);
  EXPECT_EQ(failure_of([&] { PrivateKey::load(locked.native(), say(nullptr)); }).first,
            Code::usage);
  EXPECT_EQ(failure_of([&] { PrivateKey::load(bob.certificate.native(), {}); }).first,
            Code::bad_key);
  EXPECT_EQ(failure_of([&] { PrivateKey::load((folder / "absent").native(), {}); }).first,
            Code::not_found);
}

TEST_F(EscrowTest, CertificatesThatMustNotGetAKeyAreRefused) {
  write_file(folder / "garbage.pem",
             "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_THAT(refusal(folder / "garbage.pem"), HasSubstr("no X.509 certificate"));
  write_file(folder / "garbage.der", "garbage");
  EXPECT_THAT(refusal(folder / "garbage.der"), HasSubstr("no X.509 certificate"));
  EXPECT_THAT(refusal("/dev/null"), HasSubstr("no file"));
  EXPECT_EQ(failure_of([&] { read_certificate(folder / "absent", 0); }).first, Code::not_found);

  EXPECT_THAT(refusal("sign", {.usage = "digitalSignature"}), HasSubstr("lacks keyAgreement"));
  EXPECT_THAT(refusal("cross", {.usage = "keyAgreement", .key = test::rsa(3072)}),
              HasSubstr("lacks keyEncipherment"));
  EXPECT_THAT(refusal("ca", {.usage = "keyCertSign", .constraints = "CA:TRUE"}),
              HasSubstr("lacks keyAgreement"));
  EXPECT_THAT(refusal("oldca", {.usage = "", .constraints = "CA:TRUE"}),
              HasSubstr("certification authority"));
  EXPECT_THAT(refusal("weak", {.usage = "keyEncipherment", .key = test::rsa(2048)}),
              HasSubstr("2048 bits, fewer than 3072"));
  EXPECT_THAT(refusal("small", {.key = {"EC", "-pkeyopt", "ec_paramgen_curve:secp224r1"}}),
              HasSubstr("secp224r1 (224 bits)"));
  EXPECT_THAT(refusal("ed", {.usage = "", .key = {"ED25519"}}), HasSubstr("neither RSA nor EC"));
  EXPECT_THAT(refusal("critical", {.constraints = "CA:FALSE\n1.2.3.4=critical,ASN1:NULL"}),
              HasSubstr("critical and not known"));

  const auto bob = test::holder(folder, "bob", {.more = {"-days", "40"}});
  constexpr std::time_t day = 24L * 3600;
  const std::time_t now = std::time(nullptr);
  EXPECT_THAT(refusal(bob.certificate, now + 41 * day), HasSubstr("expired on 20"));
  EXPECT_THAT(refusal(bob.certificate, now - day), HasSubstr("not valid before 20"));
  EXPECT_THAT(read_certificate(bob.certificate, now).warnings, IsEmpty());
  EXPECT_THAT(read_certificate(bob.certificate, now + 20 * day).warnings,
              ElementsAre(HasSubstr("expires on 20")));

  write_file(folder / "two.pem", read_file(bob.certificate) + read_file(bob.certificate));
  EXPECT_THAT(refusal(folder / "two.pem"), HasSubstr("more than one certificate"));
  std::filesystem::permissions(bob.certificate, std::filesystem::perms(0664));
  EXPECT_THAT(refusal(bob.certificate), HasSubstr("others than root can write"));
}

TEST_F(EscrowTest, GoodCertificatesAreDescribed) {
  const auto bob = test::holder(folder, "bob", {.usage = "", .more = {"-days", "400"}});
  const Certificate certificate = read(bob);
  EXPECT_EQ(certificate.subject, "CN=bob");
  EXPECT_EQ(certificate.key, "EC prime256v1");
  const std::string shown = run_or_throw({"openssl", "x509", "-in", bob.certificate.native(),
                                          "-noout", "-fingerprint", "-sha256"})
                                .output;
  std::string digits = shown.substr(shown.find('=') + 1, 95);
  std::erase(digits, ':');
  std::ranges::transform(digits, digits.begin(), [](unsigned char c) { return std::tolower(c); });
  EXPECT_EQ(certificate.fingerprint, digits);

  // As DER; the same key in another certificate is the same person.
  run_or_throw({"openssl", "x509", "-in", bob.certificate.native(), "-outform", "DER", "-out",
                (folder / "bob.der").native()});
  EXPECT_EQ(read_certificate(folder / "bob.der", std::time(nullptr)).fingerprint, digits);
  EXPECT_THAT(failure_of([&] {
                read_certificates({bob.certificate, folder / "bob.der"}, std::time(nullptr));
              }).second,
              HasSubstr("the same key as"));
  const auto old = test::holder(folder, "old", {.more = {"-days", "400", "-sha1"}});
  EXPECT_THAT(read(old).warnings, ElementsAre(HasSubstr("SHA1")));
}

TEST_F(EscrowTest, DepositsSharesThatTheHoldersPutTogether) {
  std::vector<test::Holder> holders;
  EscrowPolicy policy{.threshold = 2, .directory = folder / "escrow"};
  std::filesystem::create_directory(policy.directory);
  for (const char* name : {"alice", "bob", "carol"}) {
    holders.push_back(test::holder(folder, name));
    policy.certificates.push_back(holders.back().certificate);
  }
  const Secret key = new_recovery_key();
  const Escrow escrow(policy, std::time(nullptr));
  const EscrowReceipt receipt =
      escrow.deposit({.luks_uuid = uuid, .host = "host", .group = "default"}, key);
  EXPECT_THAT(receipt.certificates, SizeIs(3));
  EXPECT_EQ(receipt.to, "directory");
  std::vector<OpenedBlob> opened;
  for (int i = 0; i < 3; ++i) {
    const Path file = policy.directory / fmt::format("{}-share-{}-of-3.cms", receipt.blob, i + 1);
    const Blob blob(read_file(file));
    EXPECT_THAT(blob.recipients(), SizeIs(1));
    EXPECT_FALSE(blob.open(key_of(holders[static_cast<std::size_t>(i + 1) % 3])));
    auto content = blob.open(key_of(holders[static_cast<std::size_t>(i)]));
    ASSERT_TRUE(content);
    opened.push_back({.name = file.native(), .content = parse_content(*content)});
  }
  opened.erase(opened.begin());
  EXPECT_TRUE(recover(opened).key.equal(key));
}

// A token in software. OpenSSL's engine and the module are loaded once a process, so one test it
// is.
class TokenTest : public EscrowTest {
 protected:
  TokenTest() {
    std::filesystem::create_directory(folder / "tokens");
    write_file(config(), "directories.tokendir = " + (folder / "tokens").native() + "\n");
    ::setenv("SOFTHSM2_CONF", config().c_str(), 1);
    with_token({"softhsm2-util", "--init-token", "--free", "--label", "vault", "--so-pin",
                "12345678", "--pin", "4711"});
  }

  Path config() const { return folder / "softhsm2.conf"; }

  void with_token(const std::vector<std::string>& command) const {
    std::vector<std::string> argv = {"env", "SOFTHSM2_CONF=" + config().native()};
    argv.insert(argv.end(), command.begin(), command.end());
    run_or_throw(argv);
  }

  // Puts the key into the token too. "derive" is what ECDH needs of a key there.
  test::Holder keep(const std::string& name, const std::string& id,
                    const test::HolderOptions& options) const {
    test::Holder made = test::holder(folder, name, options);
    const std::string der = (folder / "key.der").native();
    run_or_throw({"openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in",
                  made.key.native(), "-out", der});
    with_token({"pkcs11-tool", "--module", library, "--login", "--pin", "4711", "--token-label",
                "vault", "--write-object", der, "--type", "privkey", "--label", name, "--id", id,
                "--usage-derive", "--usage-decrypt"});
    return made;
  }

  std::string uri(const std::string& object) const {
    return fmt::format("pkcs11:token=vault;object={};type=private?module-path={}", object, library);
  }

  const std::string library = "/usr/lib/softhsm/libsofthsm2.so";
};

TEST_F(TokenTest, KeysOfATokenOpenWhatWasEscrowedToThem) {
  const auto alice = keep("alice", "01", {.usage = "keyEncipherment", .key = test::rsa(3072)});
  const auto bob = keep("bob", "02", {});
  const Certificate a = read(alice);
  const Certificate b = read(bob);
  const Secret json = to_json(whole());
  int asked = 0;
  const auto pin = [&](const char* answer) {
    return [&asked, answer](const std::string& whose) {
      EXPECT_THAT(whose, HasSubstr("token=vault"));
      ++asked;
      return std::optional(Secret::copy_of(answer));
    };
  };
  // Tokens count wrong ones: it is tried once.
  EXPECT_EQ(failure_of([&] { PrivateKey::load(uri("bob"), pin("0000")); }).first,
            Code::wrong_secret);
  EXPECT_EQ(asked, 1);
  for (const auto& [certificate, name] : {std::pair{&a, "alice"}, std::pair{&b, "bob"}}) {
    const PrivateKey key = PrivateKey::load(uri(name), pin("4711"));
    const auto opened = Blob(seal(json, {certificate})).open(key);
    ASSERT_TRUE(opened) << name;
    EXPECT_EQ(opened->view(), json.view());
    EXPECT_FALSE(Blob(seal(json, {certificate == &a ? &b : &a})).open(key));
  }
  // With the engine there, keys in files work as before.
  EXPECT_TRUE(Blob(seal(json, {&b})).open(key_of(bob)));
  EXPECT_EQ(failure_of([&] { PrivateKey::load(uri("nobody"), pin("4711")); }).first, Code::bad_key);
  EXPECT_EQ(
      failure_of([&] { PrivateKey::load("pkcs11:token=vault?pin-value=4711", pin("4711")); }).first,
      Code::usage);
}

// What docs/escrow.md prints for the day on which there is no volseal.
TEST_F(EscrowTest, TheScriptOfTheManualCombinesShares) {
  const std::string page = read_file(VOLSEAL_DOCS "/escrow.md");
  const std::size_t begin = page.find("#!/usr/bin/env python3");
  const std::size_t end = page.find("```", begin);
  ASSERT_NE(begin, std::string::npos);
  write_file(folder / "combine.py", page.substr(begin, end - begin));
  const Secret key = new_recovery_key();
  const auto blobs = shares_of(key, 3, 5);
  std::vector<std::string> argv = {"python3", (folder / "combine.py").native()};
  for (const std::size_t at : {4UL, 1UL, 2UL}) {
    const Path file = folder / (blobs[at].name + ".json");
    write_secret_file(file, to_json(blobs[at].content));
    argv.push_back(file.native());
  }
  EXPECT_EQ(run_or_throw(argv).output, text(key) + "\n");
}

const std::vector<SealedBlob> two_blobs = {{.name = "one.cms", .pem = std::string(1000, '1')},
                                           {.name = "two.cms", .pem = std::string(9000, '2')}};

std::string refused(const std::function<void()>& action) {
  const auto [code, what] = failure_of(action);
  EXPECT_EQ(code, Code::escrow_refused) << what;
  return what;
}

TEST_F(EscrowTest, ADirectoryTakesAllOrNothing) {
  const Path vault = folder / "vault";
  EXPECT_THAT(refused([&] { deliver_to_directory(vault, two_blobs); }),
              HasSubstr("is it mounted?"));
  EXPECT_FALSE(std::filesystem::exists(vault));
  write_file(folder / "file", "");
  EXPECT_THAT(refused([&] { deliver_to_directory(folder / "file", two_blobs); }),
              HasSubstr("no directory"));
  // Where even root cannot write.
  refused([&] { deliver_to_directory("/proc/sys", two_blobs); });

  std::filesystem::create_directory(vault);
  // A disk that is full after the first.
  ASSERT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit little{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &little), 0);
  const std::string full = refused([&] { deliver_to_directory(vault, two_blobs); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_THAT(full, HasSubstr("File too large"));
  EXPECT_TRUE(std::filesystem::is_empty(vault));

  deliver_to_directory(vault, two_blobs);
  EXPECT_EQ(read_file(vault / "two.cms"), two_blobs[1].pem);
  EXPECT_THAT(refused([&] { deliver_to_directory(vault, two_blobs); }), HasSubstr("there already"));
  EXPECT_EQ(read_file(vault / "one.cms"), two_blobs[0].pem) << "somebody's, not ours to remove";
}

TEST_F(EscrowTest, ADescriptorMustTakeAllOfIt) {
  const UniqueFd file = open_file(folder / "out", O_WRONLY | O_CREAT);
  deliver_to_descriptor(file.get(), two_blobs);
  EXPECT_EQ(read_file(folder / "out"), two_blobs[0].pem + two_blobs[1].pem);
  const UniqueFd full = open_file("/dev/full", O_WRONLY);
  EXPECT_THAT(refused([&] { deliver_to_descriptor(full.get(), two_blobs); }),
              HasSubstr("No space left"));
}

TEST_F(EscrowTest, ACommandGetsEachBlobAndNothingElse) {
  const Path put = program("cat >" + folder.native() + "/$VOLSEAL_NAME\nenv | sort >" +
                           folder.native() + "/env\necho \"$@\" >" + folder.native() + "/args\n");
  ::setenv("VOLSEAL_LEAK", "1", 1);
  deliver_to_command({put.native(), "a b", "$(id)"}, std::chrono::seconds(30),
                     {.luks_uuid = uuid, .group = "default"}, two_blobs);
  EXPECT_EQ(read_file(folder / "one.cms"), two_blobs[0].pem);
  EXPECT_EQ(read_file(folder / "two.cms"), two_blobs[1].pem);
  EXPECT_EQ(read_file(folder / "args"), "a b $(id)\n");
  const std::string env = read_file(folder / "env");
  EXPECT_THAT(env, AllOf(HasSubstr("VOLSEAL_LUKS_UUID=" + uuid), HasSubstr("VOLSEAL_GROUP=default"),
                         HasSubstr("VOLSEAL_NAME=two.cms")));
  EXPECT_THAT(env, ::testing::Not(HasSubstr("LEAK")));
}

TEST_F(EscrowTest, ACommandThatFailsOrHangsAcknowledgesNothing) {
  const auto deliver = [&](const Path& put, int seconds) {
    return refused([&] {
      deliver_to_command({put.native()}, std::chrono::seconds(seconds),
                         {.luks_uuid = uuid, .group = "default"}, two_blobs);
    });
  };
  EXPECT_THAT(deliver(program("echo hello; echo the vault is closed >&2; exit 3"), 30),
              HasSubstr("status 3: the vault is closed"));
  // It and what it started are gone when the time is up.
  const auto begun = std::chrono::steady_clock::now();
  const Path hangs = program("echo $$ >" + folder.native() + "/pid\nsleep 1000 &\necho $! >>" +
                             folder.native() + "/pid\nexec >/dev/null 2>&1\nwait\n");
  EXPECT_THAT(deliver(hangs, 1), HasSubstr("did not end within 1 s, and was killed"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60));
  std::istringstream pids(read_file(folder / "pid"));
  for (pid_t pid = 0; pids >> pid;) {
    // Killed, and perhaps not gone yet.
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
    EXPECT_TRUE(!process || ::poll(&ended, 1, 30'000) == 1) << pid;
  }
  EXPECT_THAT(deliver(folder / "absent", 1), HasSubstr("no such program"));
  const Path script = program("exit 0\n");
  std::filesystem::permissions(script, std::filesystem::perms(0644));
  EXPECT_THAT(deliver(script, 1), HasSubstr("no program that can be run"));
  std::filesystem::permissions(script, std::filesystem::perms(0777));
  EXPECT_THAT(deliver(script, 1), HasSubstr("others than root can write it"));
}

}  // namespace
}  // namespace volseal::escrow
