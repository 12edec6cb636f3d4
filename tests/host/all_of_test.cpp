// Ways in that take several parts, as people use them: no part opens anything alone, a wrong one is
// one line, and the other ways in are still there.
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"
#include "tests/support/softkey/key_cli_test.h"
#include "tests/support/swtpm.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace volseal {
namespace {

using test::PluggedKey;
using test::Result;
using test::Terminal;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class AllOfTest : public test::KeyCliTest {
 protected:
  AllOfTest() {
    write_file(folder / "typed", "correct horse battery");
    key.set_pin("1234");
  }

  Result add_parts(const std::string& kind, const std::vector<Path>& volumes) const {
    std::vector<std::string> arguments = {"protector",
                                          "add",
                                          kind,
                                          "--key-file",
                                          key_file(),
                                          "--pin-file",
                                          pin_file(),
                                          "--new-key-file",
                                          (folder / "typed").native()};
    for (const Path& volume : volumes) arguments.push_back(volume.native());
    return volseal(arguments);
  }

  // The volume as the day begins: nothing but the parts opens it.
  void leave_only_keyslot(int slot, const Path& image) const {
    for (const int other : Volume::load(image).keyslots()) {
      if (other == slot) continue;
      run_or_throw({"cryptsetup", "luksKillSlot", "-q", image.native(), std::to_string(other)});
    }
  }

  PluggedKey key{keys, "key"};
};

TEST_F(AllOfTest, KeyAndPassphraseOpenSeveralVolumesWithOneTouchAndOneLine) {
  const Path first = luks("first.img");
  const Path second = luks("second.img");
  const Result added = add_parts("passphrase+fido2", {first, second});
  ASSERT_EQ(added.status, 0) << added.err;
  EXPECT_THAT(added.err, HasSubstr("keyslot 1 of " + second.native() +
                                   " opens with fido2+passphrase, all of them"));
  EXPECT_EQ(key.touches(), 2);
  const auto protectors = listed(first);
  ASSERT_EQ(protectors.size(), 2U);
  EXPECT_EQ(protectors[1]["kind"], "fido2+passphrase");
  EXPECT_EQ(protectors[1]["factors"], 3);
  EXPECT_EQ(protectors[1]["stretch"], "argon2id") << "one part is what people type";

  Terminal terminal(command({"unlock", "--test", first.native(), second.native()}));
  terminal.answer("PIN of the FIDO2 key Softkey key", "1234\n");
  terminal.answer("Passphrase of " + first.native() + ", part of fido2+passphrase",
                  "correct horse battery\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_EQ(key.touches(), 3);
  EXPECT_THAT(terminal.shown(), HasSubstr(second.native() + " opens by fido2+passphrase"));

  EXPECT_EQ(add_parts("fido2+passphrase", {first}).status, 64) << "the same key twice";
}

TEST_F(AllOfTest, NoPartOpensAnythingAlone) {
  const Path image = luks("disk.img");
  const Result added = add_parts("fido2+recovery-key+passphrase", {image});
  ASSERT_EQ(added.status, 0) << added.err;
  write_file(folder / "recovery", added.out);
  EXPECT_EQ(added.out.size(), 72U) << "the key alone, into a pipe";
  leave_only_keyslot(1, image);
  const Volume volume = Volume::load(image);
  EXPECT_FALSE(volume.opens_with(read_secret(folder / "typed")));
  EXPECT_FALSE(volume.opens_with(read_secret(folder / "recovery")));
  pins = {"1234"};
  const auto tokens = find_all_of_tokens(volume);
  ASSERT_EQ(tokens.size(), 1U);
  const Fido2Answer answer = Fido2(person()).open(std::vector{*tokens[0].fido2});
  ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  EXPECT_FALSE(volume.opens_with(answer.passphrase));
  for (const std::string part : {"typed", "recovery"}) {
    EXPECT_EQ(volseal({"unlock", "--test", "--key-file", (folder / part).native(), image.native()})
                  .status,
              6);
  }
  // libcryptsetup and systemd meet a token that they do not know, and go on.
  EXPECT_THAT(run_or_throw({"cryptsetup", "luksDump", image.native()}).output,
              HasSubstr("volseal-all-of"));
}

TEST_F(AllOfTest, AWrongPartIsOneLineAndTheOtherWaysInAreOffered) {
  const Path image = luks("disk.img");
  const Result added = add_parts("fido2+recovery-key", {image});
  ASSERT_EQ(added.status, 0) << added.err;
  const std::string other_key =
      "kkbgglbh-bettuvvn-fchhnrbv-nnvhllnb-nrdljjkb-kgldhfic-krjiudiu-uerhivhk\n";
  Terminal terminal(command({"unlock", "--test", image.native()}));
  const std::string part = "Recovery key of " + image.native() + ", part of fido2+recovery-key";
  const std::string alone = "Recovery key or passphrase of " + image.native();
  terminal.answer("PIN of the FIDO2 key", "1234\n");
  terminal.answer(part, other_key);
  terminal.expect("wrong-secret: the recovery key is another one's");
  terminal.answer(alone, "\n");
  terminal.answer(part, "correct horse\n");
  terminal.expect("what was given is no recovery key");
  terminal.answer(alone, "\n");
  terminal.answer(part, "\n");
  terminal.expect("no recovery key was given");
  terminal.answer(alone, "passphrase\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_EQ(key.touches(), 3) << "one touch for all tries of one run";

  // The right key in capitals and without dashes.
  std::string typed = added.out;
  std::erase(typed, '-');
  std::ranges::transform(typed, typed.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  Terminal again(command({"unlock", "--test", image.native()}));
  again.answer("PIN of the FIDO2 key", "1234\n");
  again.answer(part, typed);
  EXPECT_EQ(again.wait(), 0) << again.shown();
  EXPECT_THAT(again.shown(), HasSubstr("opens by fido2+recovery-key (keyslot 1"));
}

TEST_F(AllOfTest, AWrongPassphraseAndAWrongKeyAreToldApart) {
  const Path image = luks("disk.img");
  ASSERT_EQ(add_parts("fido2+passphrase", {image}).status, 0);
  const std::vector<std::string> test = {"protector",  "test",       "--keyslot",
                                         "1",          "--pin-file", pin_file(),
                                         "--key-file", key_file(),   image.native()};
  Result result = volseal(test);
  EXPECT_EQ(result.status, 6);
  EXPECT_THAT(result.err, HasSubstr("wrong-secret: the passphrase is wrong"));
  key.pull_out();
  result = volseal(test);
  EXPECT_EQ(result.status, 7);
  EXPECT_THAT(result.err, AllOf(HasSubstr("no-key: no FIDO2 key is plugged in"),
                                HasSubstr("plug in the FIDO2 key")));
  PluggedKey other(keys, "other");
  other.set_pin("1234");
  result = volseal(test);
  EXPECT_EQ(result.status, 7);
  EXPECT_THAT(result.err, HasSubstr("not-mine: Softkey other is not a key that was enrolled"));
  EXPECT_EQ(other.touches(), 0);
}

TEST_F(AllOfTest, ThePolicyCountsFactors) {
  write_file(folder / "policy.toml",
             "[group.default]\nrecovery = [\"passphrase+fido2\"]\nfactors = 2\n"
             "tpm = { enabled = false }\n");
  const Path image = luks("disk.img");
  Result checked = volseal({"check", image.native()});
  EXPECT_EQ(checked.status, 1);
  EXPECT_THAT(checked.out, AllOf(HasSubstr("no fido2+passphrase protector"),
                                 HasSubstr("keyslot 0 (passphrase) takes 1 factor, and group")));
  ASSERT_EQ(add_parts("fido2+passphrase", {image}).status, 0);
  leave_only_keyslot(1, image);
  checked = volseal({"check", "--json", image.native()});
  EXPECT_EQ(checked.status, 0) << checked.out;
  const auto volume = nlohmann::json::parse(checked.out)["volumes"][0];
  EXPECT_EQ(volume["protectors"], nlohmann::json::array({"fido2+passphrase"}));
  EXPECT_EQ(volume["reasons"].size(), 0U);
}

TEST_F(AllOfTest, WhatIsNoCombinationIsRefusedAndNothingIsWritten) {
  const Path image = luks("disk.img");
  const std::string before = digest(image);
  for (const std::string kind : {"fido2+fido2", "fido2+", "fido2+finger"})
    EXPECT_EQ(add_parts(kind, {image}).status, 64) << kind;
  EXPECT_EQ(add_parts("fido2+passphrase", {luks("old.img", "luks1")}).status, 64);
  write_file(folder / "typed", "short");
  EXPECT_EQ(add_parts("fido2+passphrase", {image}).status, 64);
  key.pull_out();
  EXPECT_EQ(add_parts("fido2+recovery-key", {image}).status, 7);
  EXPECT_EQ(digest(image), before);
}

TEST_F(AllOfTest, TheTpmAndAKeyOpenTogetherAndTheTpmsApprovalIsKeptFresh) {
  test::Swtpm swtpm;
  swtpm.extend(7, "firmware");
  tcti = swtpm.tcti();
  const Path image = luks("disk.img");
  const Result added = add_parts("tpm+fido2", {image});
  ASSERT_EQ(added.status, 0) << added.err;
  leave_only_keyslot(1, image);
  const std::vector<std::string> test = {"protector",  "test",     "--keyslot",   "1",
                                         "--pin-file", pin_file(), image.native()};
  EXPECT_EQ(volseal(test).status, 0);

  // Other firmware, approved from a system that is open: the part follows.
  swtpm.restart();
  swtpm.extend(7, "another firmware");
  Result result = volseal(test);
  EXPECT_EQ(result.status, 7);
  EXPECT_THAT(result.err, HasSubstr("policy-mismatch"));
  result = volseal({"tpm", "approve", image.native()});
  EXPECT_EQ(result.status, 0) << result.err;
  result = volseal(test);
  EXPECT_EQ(result.status, 0) << result.err;

  // Another TPM.
  test::Swtpm foreign;
  foreign.extend(7, "another firmware");
  tcti = foreign.tcti();
  result = volseal(test);
  EXPECT_EQ(result.status, 7);
  EXPECT_THAT(result.err, HasSubstr("not-mine"));
}

TEST_F(AllOfTest, EnrollAddsWhatThePolicyAsksForOrSaysTheCommand) {
  test::Swtpm swtpm;
  swtpm.extend(7, "firmware");
  tcti = swtpm.tcti();
  write_file(folder / "policy.toml",
             "[group.default]\nrecovery = [\"recovery-key\", \"fido2+recovery-key\"]\n");
  const Path first = ext4("first.img", 96);
  const std::vector<std::string> enroll = {"enroll", "--yes", "--recovery-key-dir",
                                           (folder / "new").native()};
  const auto enroll_of = [&](const Path& image) {
    std::vector<std::string> arguments = enroll;
    arguments.push_back(image.native());
    return arguments;
  };
  const Result alone = volseal(enroll_of(first));
  ASSERT_EQ(alone.status, 0) << alone.err;
  EXPECT_THAT(alone.err, HasSubstr("'volseal protector add fido2+recovery-key " +
                                   std::filesystem::canonical(first).native() + "'"));

  const Path second = ext4("second.img", 96);
  Terminal terminal(command(enroll_of(second)));
  terminal.answer("PIN of the FIDO2 key", "1234\n");
  terminal.expect("opens with fido2+recovery-key, all of them");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  const auto ways = listed(second);
  EXPECT_TRUE(std::ranges::any_of(ways, [](const nlohmann::json& way) {
    return way["kind"] == "fido2+recovery-key";
  })) << ways;
}

}  // namespace
}  // namespace volseal
