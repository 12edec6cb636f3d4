#include "core/base/error.h"
#include "core/protect/all_of_token.h"
#include "core/protect/fido2_token.h"
#include "core/protect/group_protector.h"
#include "core/protect/recovery_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace volseal {
namespace {

using ::testing::MatchesRegex;

// Computed with `openssl kdf ... HKDF` and `openssl mac ... HMAC`. Volumes in the field depend on
// them.
TEST(GroupSecret, DerivesWhatItAlwaysDerived) {
  const Secret group(32);
  EXPECT_EQ(keyslot_passphrase(group, "8d3c1a1e-0000-4000-8000-000000000001", Bytes(32, 1)).view(),
            "8087f9d85346cf89b8d774aca1b5a92132b90cbf4c08469aca33956a18de34c0");
  EXPECT_EQ(to_hex(binding_mac(group, "header")),
            "ac8ac8cef20c8c9e0d7c47d40aa54db99e9275b938b5d9eea4a1002196f0748b");
}

TEST(GroupSecret, VolumesOfAGroupShareNoPassphrase) {
  const Secret group = Secret::random(32);
  EXPECT_FALSE(keyslot_passphrase(group, "a", Bytes(32, 1))
                   .equal(keyslot_passphrase(group, "b", Bytes(32, 1))));
  EXPECT_FALSE(keyslot_passphrase(group, "a", Bytes(32, 1))
                   .equal(keyslot_passphrase(group, "a", Bytes(32, 2))));
}

GroupToken example() {
  return {.group = "default",
          .keyslots = {1},
          .salt = Bytes(32, 7),
          .binding_scope = "full",
          .binding = Bytes(32, 9),
          .known_keyslots = {0, 1},
          .sealed = R"({"b":1,"a":"two"})"};
}

TEST(GroupToken, IsReadBackAsItWasWritten) {
  const GroupToken token = parse_group_token(to_json(example()));
  EXPECT_EQ(token.group, "default");
  EXPECT_EQ(token.keyslots, std::vector{1});
  EXPECT_EQ(token.salt, Bytes(32, 7));
  EXPECT_EQ(token.binding, Bytes(32, 9));
  EXPECT_EQ(token.known_keyslots, (std::vector{0, 1}));
  EXPECT_EQ(token.sealed, example().sealed)
      << "the TPM's part keeps its order: it is compared as text";
  EXPECT_EQ(to_json(token), to_json(example()));
}

TEST(GroupToken, RefusesWhatItDidNotWrite) {
  const std::string good = to_json(example());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& bad :
       {std::string(), std::string("[]"), std::string("{"), with("volseal-tpm2", "clevis"),
        with(R"("version":1)", R"("version":2)"), with(R"("group")", R"("extra":1,"group")"),
        with(R"("keyslots":["1"])", R"("keyslots":["32"])"),
        with(R"("keyslots":["1"])", R"("keyslots":[1])"),
        with(R"("keyslots":["1"])", R"("keyslots":["-1"])"),
        with(R"("binding-scope":"full")", R"("binding-scope":"none")"),
        with(to_base64(Bytes(32, 7)), to_base64(Bytes(31, 7))),
        with(R"({"b":1,"a":"two"})", R"("text")"), good + std::string(13000, ' ')}) {
    try {
      parse_group_token(bad);
      ADD_FAILURE() << "read: " << bad.substr(0, 200);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::damaged);
    }
  }
}

// Written as systemd-cryptenroll 252 to 257 does, members in its order.
constexpr const char* systemds_token =
    R"({"type":"systemd-fido2","keyslots":["2"],"fido2-credential":"BwcHBwcHBwc=",)"
    R"("fido2-salt":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","fido2-rp":"io.systemd.cryptsetup",)"
    R"("fido2-clientPin-required":true,"fido2-up-required":true,"fido2-uv-required":false})";

TEST(Fido2TokenTest, IsSystemds) {
  const Fido2Token token = parse_fido2_token(systemds_token);
  EXPECT_EQ(token.keyslots, std::vector{2});
  EXPECT_EQ(token.credential, Bytes(8, 7));
  EXPECT_EQ(token.salt, Bytes(32, 9));
  EXPECT_EQ(token.rp, "io.systemd.cryptsetup");
  EXPECT_EQ(token.pin, true);
  EXPECT_EQ(token.touch, true);
  EXPECT_EQ(token.uv, false);
  EXPECT_EQ(to_json(token), systemds_token);
}

TEST(Fido2TokenTest, OfSystemd248LeavesOpenWhatTheKeyWants) {
  const Fido2Token token = parse_fido2_token(
      R"({"type":"systemd-fido2","keyslots":["0"],"fido2-credential":"Bw==",)"
      R"("fido2-salt":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","fido2-more":1})");
  EXPECT_EQ(token.rp, "io.systemd.cryptsetup");
  EXPECT_EQ(token.pin, std::nullopt);
  EXPECT_FALSE(token.is_two_factors());
}

TEST(Fido2TokenTest, CountsAsTwoFactorsWithATouchAndThePersonOnly) {
  Fido2Token token = parse_fido2_token(systemds_token);
  EXPECT_TRUE(token.is_two_factors());
  token.touch = false;
  EXPECT_FALSE(token.is_two_factors());
  token.touch = true;
  token.pin = false;
  EXPECT_FALSE(token.is_two_factors());
  token.uv = true;
  EXPECT_TRUE(token.is_two_factors());
}

TEST(Fido2TokenTest, RefusesWhatSystemdDoesNotWrite) {
  const std::string good = systemds_token;
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& bad :
       {std::string(), std::string("[]"), std::string("{"), with("systemd-fido2", "systemd-tpm2"),
        with(R"(["2"])", R"([2])"), with(R"(["2"])", R"(["32"])"), with(R"(["2"])", R"("2")"),
        with("BwcHBwcHBwc=", ""), with("BwcHBwcHBwc=", "BwcHBwcHBwc"),
        with("BwcHBwcHBwc=", to_base64(Bytes(1025, 7))),
        with(to_base64(Bytes(32, 9)), to_base64(Bytes(31, 9))),
        with(to_base64(Bytes(32, 9)), to_base64(Bytes(64, 9))),
        with("io.systemd.cryptsetup", R"(io\u0007systemd)"),
        with("io.systemd", std::string(254, 'a')),
        with(R"("fido2-up-required":true)", R"("fido2-up-required":"true")"),
        with(R"("fido2-up-required":true)", R"("fido2-rp":"twice")"),
        with(R"("fido2-salt")", R"("fido2-sugar")"), good + std::string(13000, ' ')}) {
    try {
      parse_fido2_token(bad);
      ADD_FAILURE() << "read: " << bad.substr(0, 200);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::damaged);
    }
  }
}

// Computed with Python's hmac. Volumes in the field depend on them.
TEST(AllOfTokenTest, DerivesWhatItAlwaysDerived) {
  const std::string uuid = "8d3c1a1e-0000-4000-8000-000000000001";
  const AllOfToken token{.keyslots = {},
                         .salt = Bytes(32, 1),
                         .tpm = {},
                         .fido2 = Fido2Token{},
                         .recovery_key = {},
                         .passphrase = true};
  PartSecrets secrets;
  secrets.emplace(Part::passphrase, Secret::copy_of("correct horse"));
  secrets.emplace(Part::fido2, Secret::copy_of("secret of the key"));
  EXPECT_EQ(all_of_passphrase(token, secrets, uuid).view(),
            "ef013336af3f2742f71d8242041d3170270ba73de7139363e0cd6d7b7ed9ba8a");
  EXPECT_EQ(to_hex(recovery_key_check(token, Secret::copy_of("recovery"), uuid)),
            "117226d4f0d82ace0159b4817f9c5116");
}

TEST(AllOfTokenTest, EveryPartItsKindTheSaltAndTheVolumeCount) {
  AllOfToken token{.keyslots = {},
                   .salt = Bytes(32, 1),
                   .tpm = {},
                   .fido2 = Fido2Token{},
                   .recovery_key = {},
                   .passphrase = true};
  const auto derive = [&](const char* key, const char* typed, const char* uuid) {
    PartSecrets secrets;
    secrets.emplace(Part::fido2, Secret::copy_of(key));
    secrets.emplace(token.passphrase ? Part::passphrase : Part::recovery_key,
                    Secret::copy_of(typed));
    return std::string(all_of_passphrase(token, secrets, uuid).view());
  };
  std::set<std::string> seen = {derive("a", "b", "1"), derive("b", "a", "1"), derive("a", "c", "1"),
                                derive("c", "b", "1"), derive("a", "b", "2")};
  token.salt = Bytes(32, 2);
  seen.insert(derive("a", "b", "1"));
  token.salt = Bytes(32, 1);
  token.passphrase = false;
  token.recovery_key = Bytes(16, 0);
  seen.insert(derive("a", "b", "1"));
  EXPECT_EQ(seen.size(), 7U);
  EXPECT_THROW(all_of_passphrase(token, {}, "1"), Error) << "a part is missing";
}

TEST(AllOfTokenTest, NamesItsPartsInTheirOrder) {
  const auto name = [](const std::string& text) {
    const auto parts = parse_parts(text);
    return parts ? to_string(*parts) : "none";
  };
  EXPECT_EQ(name("fido2+recovery-key"), "fido2+recovery-key");
  EXPECT_EQ(name("passphrase+fido2+tpm"), "tpm+fido2+passphrase");
  for (const char* bad : {"", "fido2", "fido2+", "+fido2", "fido2+fido2", "fido2+pin", "tpm fido2"})
    EXPECT_EQ(name(bad), "none") << bad;
}

constexpr const char* all_of_example =
    R"({"type":"volseal-all-of","keyslots":["2"],"version":1,)"
    R"("salt":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","parts":[)"
    R"({"kind":"tpm","group":"g","binding":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","sealed":{"b":1,"a":2}},)"
    R"({"kind":"fido2","fido2-credential":"BwcHBwcHBwc=",)"
    R"("fido2-salt":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","fido2-rp":"io.systemd.cryptsetup",)"
    R"("fido2-clientPin-required":true,"fido2-up-required":true,"fido2-uv-required":false},)"
    R"({"kind":"recovery-key","check":"CQkJCQkJCQkJCQkJCQkJCQ=="},{"kind":"passphrase"}]})";

TEST(AllOfTokenTest, IsReadBackAsItWasWritten) {
  const AllOfToken token = parse_all_of_token(all_of_example);
  EXPECT_EQ(token.name(), "tpm+fido2+recovery-key+passphrase");
  EXPECT_EQ(token.keyslots, std::vector{2});
  EXPECT_TRUE(token.fido2 && token.fido2->is_two_factors());
  EXPECT_EQ(to_json(token), all_of_example);
}

TEST(AllOfTokenTest, RefusesWhatItDidNotWrite) {
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = all_of_example;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& bad :
       {std::string("[]"), std::string("{"), with("volseal-all-of", "systemd-fido2"),
        with(R"("version":1)", R"("version":2)"), with(R"("salt")", R"("more":1,"salt")"),
        with(R"("keyslots":["2"])", R"("keyslots":["64"])"),
        with(R"("parts":[)", R"("parts":[{"kind":"passphrase"},)"),
        with(R"("kind":"passphrase"})", R"("kind":"passphrase","hash":""})"),
        with(R"({"kind":"passphrase"})", R"({"kind":"finger"})"),
        with(R"({"kind":"passphrase"})",
             R"({"kind":"recovery-key","check":"CQkJCQkJCQkJCQkJCQkJCQ=="})"),
        with(R"({"kind":"passphrase"})", R"("passphrase")"),
        with("CQkJCQkJCQkJCQkJCQkJCQ==", "CQkJ"), with(R"({"b":1,"a":2})", R"("b")"),
        with(R"("fido2-credential":"BwcHBwcHBwc=")", R"("fido2-credential":"")"),
        std::string(R"({"type":"volseal-all-of","keyslots":["2"],"version":1,)"
                    R"("salt":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","parts":[)"
                    R"({"kind":"passphrase"}]})"),
        all_of_example + std::string(13000, ' ')}) {
    try {
      parse_all_of_token(bad);
      ADD_FAILURE() << "read: " << bad.substr(0, 200);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::damaged);
    }
  }
}

TEST(RecoveryKey, IsModhexInEightGroupsAndNeverTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 20; ++i) {
    const Secret key = new_recovery_key();
    EXPECT_THAT(std::string(key.view()),
                MatchesRegex("[cbdefghijklnrtuv]{8}(-[cbdefghijklnrtuv]{8}){7}"));
    seen.emplace(key.view());
  }
  EXPECT_EQ(seen.size(), 20U);
}

TEST(RecoveryKey, ForgivesHowItIsTypedAndNothingElse) {
  const std::string key = "kkbgglbh-bettuvvn-fchhnrbv-nnvhllnb-nrdljjkb-kgldhfic-krjiudiu-uerhivhk";
  const auto normalized = [](const std::string& typed) {
    const auto result = normalized_recovery_key(Secret::copy_of(typed));
    return result ? std::string(result->view()) : "none";
  };
  EXPECT_EQ(normalized(key), key);
  EXPECT_EQ(normalized("KKBGGLBHbettuvvnFCHHNRBVnnvhllnb nrdljjkb kgldhfic krjiudiu uerhivhk\n"),
            key);
  EXPECT_EQ(normalized(key.substr(1)), "none");
  EXPECT_EQ(normalized(key + "c"), "none");
  EXPECT_EQ(normalized("a" + key.substr(1)), "none");
  EXPECT_EQ(normalized(""), "none");
  EXPECT_EQ(normalized("correct horse battery staple"), "none");
}

}  // namespace
}  // namespace volseal
