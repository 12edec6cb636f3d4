// volseal lock, on image files: what refuses from then on, what root may have kept, and the way
// back.
#include "core/luks/volume.h"
#include "tests/support/softkey/key_cli_test.h"
#include "tests/support/swtpm.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace volseal {
namespace {

using test::PluggedKey;
using test::Result;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int good = 0;
constexpr int refused = 5;
constexpr int tpm_said_no = 7;

// Keyslots: 0 a passphrase, 1 a FIDO2 key with its PIN, 2 the TPM.
class LockVerbTest : public test::KeyCliTest {
 protected:
  LockVerbTest() : plugged(keys, "key") {
    plugged.set_pin("1234");
    swtpm.extend(7, "firmware");
    tcti = swtpm.tcti();
    write_policy("");
    image = luks("disk.img");
    EXPECT_EQ(add({image}).status, 0);
    const Result added =
        volseal({"protector", "add", "tpm", "--key-file", key_file(), image.native()});
    EXPECT_EQ(added.status, 0) << added.err;
  }

  void write_policy(const std::string& more) const {
    write_file(folder / "policy.toml",
               fmt::format("[volumes]\nheader_backups = \"{}\"\n[group.default]\n{}\n",
                           (folder / "headers").native(), more));
  }
  void drill() const {
    const Result drilled =
        volseal({"drill", "--keyslot", "1", "--pin-file", pin_file(), image.native()});
    ASSERT_EQ(drilled.status, 0) << drilled.err << drilled.out;
  }
  Result lock(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"lock",  "default",  image.native(),
                                          "--yes", "--reason", "a test"};
    std::ranges::move(more, std::back_inserter(arguments));
    return volseal(arguments);
  }
  Result recover(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"recover", "--yes",      "--keyslot",
                                          "1",       "--pin-file", pin_file()};
    std::ranges::move(more, std::back_inserter(arguments));
    arguments.push_back(image.native());
    return volseal(arguments);
  }
  Result by_tpm() const { return volseal({"unlock", "--test", image.native()}); }
  bool has_tpm_way() const {
    return std::ranges::any_of(listed(image), [](const auto& way) { return way["kind"] == "tpm"; });
  }
  std::string log() const { return read_file(folder / "state/audit.log"); }

  test::Swtpm swtpm;
  PluggedKey plugged;
  Path image;
};

TEST_F(LockVerbTest, RefusesWhereNobodyHasShownThatTwoFactorsOpenIt) {
  const std::string before = digest(image);
  Result result = lock();
  EXPECT_EQ(result.status, refused);
  EXPECT_THAT(result.err, HasSubstr("no drill has shown that people with two factors open"));
  EXPECT_EQ(digest(image), before);
  EXPECT_EQ(by_tpm().status, good);
  EXPECT_EQ(volseal({"lock", "default", image.native(), "--dry-run"}).status, refused);

  drill();
  result = volseal({"lock", "default", image.native(), "--dry-run"});
  EXPECT_EQ(result.status, good);
  EXPECT_THAT(result.out, AllOf(HasSubstr("fido2, 2 factors, drilled 20"), Not(HasSubstr("BUT"))));
  EXPECT_EQ(digest(image), before);
  EXPECT_THAT(volseal({"lock", "--list"}).out, HasSubstr("no group is locked"));
  EXPECT_EQ(volseal({"lock", "nobody", "--yes"}).status, 4);
  EXPECT_EQ(volseal({"lock", "default", image.native()}).status, 64) << "nobody was asked";
}

TEST_F(LockVerbTest, FromThenOnNothingOpensItAndEveryVerbSaysWhy) {
  drill();
  const Result locked = lock({"--json"});
  ASSERT_EQ(locked.status, good) << locked.err;
  const auto json = nlohmann::json::parse(locked.out);
  EXPECT_EQ(json["schema"], "volseal-lock-result/1");
  EXPECT_EQ(json["complete"], true);
  EXPECT_EQ(json["volumes"][0]["tpm_keyslots"].dump(), "[2]");
  EXPECT_FALSE(has_tpm_way());

  const auto why = AllOf(HasSubstr("group default was locked on "), HasSubstr(": a test"),
                         HasSubstr("volseal recover"));
  for (const std::vector<std::string>& verb : std::vector<std::vector<std::string>>{
           {"unlock", "--test", image.native()},
           {"unlock", "--test", "--key-file", key_file(), image.native()},
           {"tpm", "approve", image.native()},
           {"tpm", "revoke", image.native()},
           {"tpm", "sync", image.native()},
           {"tpm", "forget"},
           {"protector", "add", "tpm", "--key-file", key_file(), image.native()},
           {"protector", "add", "passphrase", "--key-file", key_file(), image.native()},
           {"protector", "remove", "--keyslot", "1", "--key-file", key_file(), image.native()},
           {"recover", "--replace", "--keyslot", "0", "--key-file", key_file(), image.native()}}) {
    const Result result = volseal(verb);
    EXPECT_EQ(result.status, verb[0] == "unlock" ? tpm_said_no : refused)
        << verb[0] << " " << verb[1] << result.err << result.out;
    EXPECT_THAT(result.err, why) << verb[0] << " " << verb[1];
  }
  // Another volume of the group, too.
  const Path other = luks("other.img");
  EXPECT_EQ(volseal({"protector", "add", "tpm", "--key-file", key_file(), other.native()}).status,
            refused);
  EXPECT_THAT(volseal({"lock", "--list"}).out, HasSubstr("group default was locked on "));
  EXPECT_THAT(log(), AllOf(HasSubstr(R"("action":"lock","outcome":"started")"),
                           HasSubstr(R"("action":"lock","outcome":"ok")"),
                           HasSubstr(R"("action":"lock.volume")")));
  // Once more: nothing is left to do, and who and why stay.
  EXPECT_THAT(lock().out, HasSubstr(": a test"));
}

TEST_F(LockVerbTest, WhatRootHasKeptOfTheStateOpensNothing) {
  drill();
  std::filesystem::copy(folder / "state", folder / "kept",
                        std::filesystem::copy_options::recursive);
  ASSERT_EQ(lock().status, good);
  std::filesystem::remove_all(folder / "state");
  std::filesystem::rename(folder / "kept", folder / "state");
  EXPECT_THAT(volseal({"lock", "--list"}).out, HasSubstr("no group is locked"));
  const Result result = by_tpm();
  EXPECT_EQ(result.status, tpm_said_no);
  EXPECT_THAT(result.err, HasSubstr("group default was locked on "));
  // Even the policy key, which the copy has, and a header without its note: the keyslot is gone.
  for (const VolumeToken& token : Volume::load(image).tokens()) {
    if (token.type == "volseal-lock") Volume::load(image).remove_token(token.id);
  }
  EXPECT_EQ(by_tpm().status, tpm_said_no);
  EXPECT_EQ(volseal({"tpm", "approve", image.native()}).status, good);
  EXPECT_NE(by_tpm().status, good);
}

TEST_F(LockVerbTest, TwoFactorsBringItBackAndOneDoesNot) {
  drill();
  ASSERT_EQ(lock().status, good);
  const Result one =
      volseal({"recover", "--yes", "--keyslot", "0", "--key-file", key_file(), image.native()});
  EXPECT_EQ(one.status, refused) << one.err;
  EXPECT_THAT(one.err, HasSubstr("one factor was given"));
  EXPECT_EQ(by_tpm().status, tpm_said_no);

  const Result two = recover();
  ASSERT_EQ(two.status, good) << two.err << two.out;
  EXPECT_THAT(two.err, HasSubstr("group default is locked no more"));
  EXPECT_EQ(by_tpm().status, good) << by_tpm().err;
  EXPECT_TRUE(has_tpm_way());
  EXPECT_THAT(volseal({"lock", "--list"}).out, HasSubstr("no group is locked"));
  EXPECT_THAT(log(), HasSubstr(R"("action":"lock.lift","outcome":"ok")"));
  const Result approved = volseal({"tpm", "approve", image.native()});
  EXPECT_EQ(approved.status, good) << approved.err;
  swtpm.restart();
  swtpm.extend(7, "firmware");
  EXPECT_EQ(by_tpm().status, good);
}

TEST_F(LockVerbTest, TwoWaysOfDifferentKindsAreTwoFactorsForAPerson) {
  ASSERT_EQ(volseal({"drill", "--keyslot", "0", "--key-file", key_file(), image.native()}).status,
            good);
  ASSERT_EQ(lock({"--unproven"}).status, good);
  test::Terminal terminal(command({"recover", "--pin-file", pin_file(), image.native()}));
  terminal.answer("Which one", "2\n");
  terminal.answer("Passphrase of", "passphrase\n");
  terminal.expect("that is one factor, and the group is locked");
  terminal.answer("Which one", "1\n");
  terminal.answer("Is what was wrong put right", "yes\n");
  EXPECT_EQ(terminal.wait(), good) << terminal.shown();
  EXPECT_EQ(by_tpm().status, good);
}

TEST_F(LockVerbTest, AVolumeThatWasAwayIsRecoveredByItself) {
  const Path away = luks("away.img");
  ASSERT_EQ(add({away}, {"--like", image.native()}).status, good);
  ASSERT_EQ(volseal({"protector", "add", "tpm", "--key-file", key_file(), away.native()}).status,
            good);
  drill();
  ASSERT_EQ(lock().status, good);
  Result result = volseal({"unlock", "--test", "--key-file", key_file(), away.native()});
  EXPECT_EQ(result.status, tpm_said_no) << "its header knows nothing, the record does";
  ASSERT_EQ(recover().status, good);
  EXPECT_NE(volseal({"unlock", "--test", away.native()}).status, good);
  result = volseal({"recover", "--yes", "--keyslot", "1", "--pin-file", pin_file(), away.native()});
  ASSERT_EQ(result.status, good) << result.err << result.out;
  EXPECT_EQ(volseal({"unlock", "--test", away.native()}).status, good);
  EXPECT_EQ(by_tpm().status, good);
}

TEST_F(LockVerbTest, WithoutATpmItIsLockedAndTheSameCommandFinishes) {
  drill();
  tcti = "swtpm:path=/nowhere";
  Result result = lock();
  EXPECT_EQ(result.status, tpm_said_no) << result.err;
  EXPECT_THAT(result.err, HasSubstr("run the same command again"));
  EXPECT_FALSE(has_tpm_way());
  EXPECT_THAT(volseal({"lock", "--list"}).out, HasSubstr("not all of it is done yet"));
  tcti = swtpm.tcti();
  result = lock();
  EXPECT_EQ(result.status, good) << result.err;
  EXPECT_THAT(volseal({"lock", "--list"}).out, Not(HasSubstr("not all of it")));
}

// Dies before each of its steps; the same command finishes it, and two factors bring it back.
TEST_F(LockVerbTest, ACutAtAnyStepIsFinishedByTheSameCommand) {
  drill();
  const Path pristine = folder / "pristine";
  std::filesystem::create_directory(pristine);
  const auto copy = [](const Path& from, const Path& to) {
    std::filesystem::remove_all(to);
    std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
  };
  copy(image, pristine / "image");
  copy(folder / "state", pristine / "state");
  int at = 1;
  int locked_by_cut = 0;
  for (;; ++at) {
    ASSERT_LT(at, 300);
    copy(pristine / "image", image);
    copy(pristine / "state", folder / "state");
    std::vector<std::string> argv = {"/usr/bin/env", "LD_PRELOAD=" VOLSEAL_DIE_AT,
                                     "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0",
                                     "VOLSEAL_DIE_AT=" + std::to_string(at)};
    const auto program = command({"lock", "default", image.native(), "--yes"});
    argv.insert(argv.end(), std::ranges::find(program, std::string(VOLSEAL_BINARY)), program.end());
    const auto cut = run(argv);
    if (cut.status == 0) break;
    ASSERT_EQ(cut.status, 99) << at << cut.output;
    // From the record on everything refuses; before it nothing has happened.
    const bool recorded = std::filesystem::exists(folder / "state/locks/default.json");
    locked_by_cut += recorded ? 1 : 0;
    const Result opens = volseal({"unlock", "--test", "--key-file", key_file(), image.native()});
    EXPECT_EQ(opens.status, recorded ? tpm_said_no : good) << at;
    const Result again = lock();
    ASSERT_EQ(again.status, good) << at << again.err;
    EXPECT_FALSE(has_tpm_way()) << at;
    EXPECT_FALSE(std::filesystem::exists(folder / "state/groups/default/policy-key.pem")) << at;
    EXPECT_EQ(by_tpm().status, tpm_said_no) << at;
  }
  EXPECT_GT(at, 12);
  EXPECT_GT(locked_by_cut, 8);
}

TEST_F(LockVerbTest, ACutInARecoveryIsFinishedByTheSameCommand) {
  drill();
  ASSERT_EQ(lock().status, good);
  int at = 1;
  for (; at < 300; at += 3) {
    auto argv =
        command({"recover", "--yes", "--keyslot", "1", "--pin-file", pin_file(), image.native()});
    // Beside the FIDO2 key that it preloads.
    argv.at(1) += ":" VOLSEAL_DIE_AT;
    argv.insert(argv.begin() + 1, "VOLSEAL_DIE_AT=" + std::to_string(at));
    const auto cut = run(argv);
    if (cut.status == 0) break;
    ASSERT_EQ(cut.status, 99) << at << cut.output;
  }
  EXPECT_GT(at, 12);
  EXPECT_EQ(by_tpm().status, good) << by_tpm().err;
  EXPECT_THAT(volseal({"lock", "--list"}).out, HasSubstr("no group is locked"));
}

// --- by policy --------------------------------------------------------------------------------

TEST_F(LockVerbTest, WrongKeysLockTheGroupWhereThePolicySaysSo) {
  write_policy("lock_after = { failures = 3, minutes = 10 }");
  write_file(folder / "wrong", "not it");
  const auto guess = [&] {
    return volseal({"unlock", "--test", "--key-file", (folder / "wrong").native(), image.native()});
  };
  drill();
  EXPECT_EQ(guess().status, 6);
  EXPECT_EQ(guess().status, 6);
  EXPECT_EQ(by_tpm().status, good);
  const Result third = guess();
  EXPECT_EQ(third.status, 6);
  EXPECT_THAT(third.err,
              HasSubstr("group default is being locked, as the policy wants it: 3 failed "
                        "attempts within 10 minutes"));
  EXPECT_EQ(by_tpm().status, tpm_said_no);
  EXPECT_THAT(log(), HasSubstr(R"("trigger":"failures")"));
  ASSERT_EQ(recover().status, good);
  // Those before the recovery are forgotten.
  EXPECT_EQ(guess().status, 6);
  EXPECT_EQ(by_tpm().status, good);
}

TEST_F(LockVerbTest, ThePolicyLocksNobodyOut) {
  write_policy("lock_after = { failures = 2, minutes = 10 }");
  write_file(folder / "wrong", "not it");
  for (int i = 0; i < 3; ++i) {
    const Result result =
        volseal({"unlock", "--test", "--key-file", (folder / "wrong").native(), image.native()});
    EXPECT_EQ(result.status, 6);
    if (i > 0) {
      EXPECT_THAT(result.err, HasSubstr("is not locked, though the policy wants it"));
    }
  }
  EXPECT_EQ(by_tpm().status, good);
  EXPECT_THAT(log(), HasSubstr(R"("action":"lock","outcome":"refused")"));
}

}  // namespace
}  // namespace volseal
