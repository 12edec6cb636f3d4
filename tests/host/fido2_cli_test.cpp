// FIDO2 keys as people use them: verbs, prompts, exit statuses; and that systemd and cryptsetup
// know what was written.
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"
#include "tests/support/softkey/key_cli_test.h"
#include "tests/support/swtpm.h"
#include "tests/support/terminal.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace volseal {
namespace {

using test::PluggedKey;
using test::Result;
using test::Terminal;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Fido2CliTest : public test::KeyCliTest {};

TEST_F(Fido2CliTest, OneKeyIsAddedToSeveralVolumesAndProven) {
  PluggedKey key(keys, "key");
  key.set_pin("1234");
  const Path first = luks("first.img");
  const Path second = luks("second.img");
  const Result added = add({first, second});
  ASSERT_EQ(added.status, 0) << added.err;
  EXPECT_THAT(added.err, AllOf(HasSubstr("touch the FIDO2 key Softkey key now, to enroll it"),
                               HasSubstr("keyslot 1 of " + first.native()),
                               HasSubstr("keyslot 1 of " + second.native())));
  EXPECT_EQ(key.touches(), 2) << "one makes the credential, one shows what it computes";
  const auto protectors = listed(second);
  ASSERT_EQ(protectors.size(), 2U);
  EXPECT_EQ(protectors[1]["kind"], "fido2");
  EXPECT_EQ(protectors[1]["two_factors"], true);

  const Result tested = volseal({"protector", "test", "--pin-file", pin_file(), first.native()});
  EXPECT_EQ(tested.status, 0) << tested.err;
  EXPECT_THAT(tested.out, HasSubstr("opens by fido2 (keyslot 1"));
  EXPECT_EQ(key.touches(), 3);

  EXPECT_EQ(add({first}).status, 64) << "the same key twice is no spare key";
  EXPECT_THAT(add({first}).err, HasSubstr("opens a keyslot of the volume already"));
  EXPECT_EQ(key.touches(), 3);
}

// systemd writes the array of keyslots, the names and the base64 like this; cryptsetup and
// systemd-cryptenroll read it, and so does libcryptsetup's plugin of systemd.
TEST_F(Fido2CliTest, WhatIsWrittenIsASystemdFido2Token) {
  PluggedKey key(keys, "key");
  key.set_pin("1234");
  const Path image = luks("disk.img");
  ASSERT_EQ(add({image}).status, 0);
  EXPECT_THAT(run_or_throw({"systemd-cryptenroll", image.native()}).output, HasSubstr("fido2"));
  EXPECT_THAT(run_or_throw({"cryptsetup", "luksDump", image.native()}).output,
              HasSubstr("systemd-fido2"));
  const auto token = nlohmann::json::parse(
      run_or_throw({"cryptsetup", "token", "export", "--token-id", "0", image.native()}).output);
  EXPECT_EQ(token.at("type"), "systemd-fido2");
  EXPECT_EQ(token.at("keyslots"), nlohmann::json::array({"1"}));
  EXPECT_EQ(token.at("fido2-rp"), "io.systemd.cryptsetup");
  EXPECT_EQ(token.at("fido2-clientPin-required"), true);
  EXPECT_EQ(token.at("fido2-up-required"), true);
  EXPECT_EQ(token.at("fido2-uv-required"), false);
  EXPECT_EQ(token.size(), 8U);

  // The passphrase as systemd makes it, given to cryptsetup alone.
  pins = {"1234"};
  const Fido2Answer answer = Fido2(person()).open(find_fido2_tokens(Volume::load(image)));
  ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  write_file(folder / "passphrase", answer.passphrase.view());
  EXPECT_EQ(run({"cryptsetup", "open", "--test-passphrase", "--key-slot", "1", "--key-file",
                 (folder / "passphrase").native(), image.native()})
                .status,
            0);
}

// As `systemd-cryptenroll --fido2-device` of systemd 252 leaves a volume: its keyslot by its
// passphrase, its token by cryptsetup, with members in its order.
TEST_F(Fido2CliTest, AVolumeOfSystemdsOpens) {
  PluggedKey key(keys, "key");
  key.set_pin("1234");
  pins = {"1234"};
  const auto enrolled = Fido2(person()).enroll("0a1b", "systemd");
  const Path image = luks("disk.img");
  write_file(folder / "passphrase", enrolled.passphrase.view());
  run_or_throw({"cryptsetup", "luksAddKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
                "--key-file", key_file(), image.native(), (folder / "passphrase").native()});
  write_file(folder / "token.json",
             R"({"type":"systemd-fido2","keyslots":["1"],"fido2-credential":")" +
                 to_base64(enrolled.token.credential) + R"(","fido2-salt":")" +
                 to_base64(enrolled.token.salt) +
                 R"(","fido2-rp":"io.systemd.cryptsetup","fido2-clientPin-required":true,)"
                 R"("fido2-up-required":true,"fido2-uv-required":false})");
  run_or_throw({"cryptsetup", "token", "import", "--json-file", (folder / "token.json").native(),
                image.native()});
  const Result tested = volseal({"protector", "test", "--pin-file", pin_file(), image.native()});
  EXPECT_EQ(tested.status, 0) << tested.err;
}

// systemd-cryptenroll 252 with a key that makes credentials without its PIN: the secret is had
// without it, and the token says otherwise.
TEST_F(Fido2CliTest, WhatAnOldSystemdCannotOpenItselfOpensAndIsTold) {
  PluggedKey key(keys, "key", {.makes_without_pin = true});
  key.set_pin("1234");
  pins = {"1234"};
  Fido2Token token = Fido2(person()).enroll("0a1b", "systemd").token;
  token.pin = false;
  const Fido2Answer bare = Fido2(person()).open(std::vector{token});
  ASSERT_EQ(bare.outcome, Outcome::opened) << bare.reason;
  token.pin = true;
  token.keyslots = {1};
  const Path image = luks("disk.img");
  write_file(folder / "passphrase", bare.passphrase.view());
  run_or_throw({"cryptsetup", "luksAddKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
                "--key-file", key_file(), image.native(), (folder / "passphrase").native()});
  write_file(folder / "token.json", to_json(token));
  run_or_throw({"cryptsetup", "token", "import", "--json-file", (folder / "token.json").native(),
                image.native()});
  const Result tested = volseal({"protector", "test", "--pin-file", pin_file(), image.native()});
  EXPECT_EQ(tested.status, 0) << tested.err;
  EXPECT_THAT(tested.err, HasSubstr("opens by a touch alone"));
}

TEST_F(Fido2CliTest, ATokenThatIsDamagedTakesNoOtherKeysWay) {
  PluggedKey key(keys, "key");
  key.set_pin("1234");
  const Path image = luks("disk.img");
  ASSERT_EQ(add({image}).status, 0);
  write_file(folder / "token.json",
             R"({"type":"systemd-fido2","keyslots":["0"],"fido2-credential":"BwcHBw==",)"
             R"("fido2-salt":"CQkJCQ==","fido2-rp":"io.systemd.cryptsetup"})");
  run_or_throw({"cryptsetup", "token", "import", "--json-file", (folder / "token.json").native(),
                image.native()});
  const Result tested = volseal({"protector", "test", "--pin-file", pin_file(), image.native()});
  EXPECT_EQ(tested.status, 0) << tested.err;
  EXPECT_THAT(tested.err, HasSubstr("read the systemd-fido2 token"));
}

TEST_F(Fido2CliTest, AnotherVolumeSharesTheCredentialLater) {
  PluggedKey key(keys, "key");
  key.set_pin("1234");
  const Path first = luks("first.img");
  const Path second = luks("second.img");
  ASSERT_EQ(add({first}).status, 0);
  const Result added = add({second}, {"--like", first.native()});
  ASSERT_EQ(added.status, 0) << added.err;
  EXPECT_EQ(key.touches(), 3);
  Terminal terminal(command({"unlock", "--test", first.native(), second.native()}));
  terminal.answer("PIN of the FIDO2 key Softkey key (8 tries left)", "1234\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_EQ(key.touches(), 4) << "one touch for both";
  EXPECT_THAT(terminal.shown(), AllOf(HasSubstr(first.native() + " opens by fido2"),
                                      HasSubstr(second.native() + " opens by fido2")));
  EXPECT_EQ(add({second}, {"--like", first.native()}).status, 64);
}

TEST_F(Fido2CliTest, UnlockTakesTheKeyOnceItIsPluggedIn) {
  PluggedKey key(keys, "key");
  key.set_pin("1234");
  const Path image = luks("disk.img");
  ASSERT_EQ(add({image}).status, 0);
  key.pull_out();
  Terminal terminal(command({"unlock", "--test", image.native()}));
  const std::string prompt = "plug in the FIDO2 key and press Enter";
  terminal.answer(prompt, "\n");
  terminal.expect("no FIDO2 key is plugged in");
  key.plug_in();
  terminal.answer(prompt, "\n");
  terminal.answer("PIN of the FIDO2 key", "0000\n");
  terminal.answer("PIN of the FIDO2 key Softkey key (7 tries left)", "1234\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_THAT(terminal.shown(), HasSubstr("opens by fido2"));
}

TEST_F(Fido2CliTest, ThePassphraseIsTakenInsteadOfTheKey) {
  PluggedKey key(keys, "key");
  key.set_pin("1234");
  const Path image = luks("disk.img");
  ASSERT_EQ(add({image}).status, 0);
  key.leave_untouched();
  Terminal terminal(command({"unlock", "--test", image.native()}));
  terminal.answer("PIN of the FIDO2 key", "1234\n");
  terminal.answer("Recovery key or passphrase", "passphrase\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_THAT(terminal.shown(),
              AllOf(HasSubstr("no-touch: Softkey key was not touched in time"),
                    HasSubstr("touch the FIDO2 key while it blinks"), HasSubstr("by passphrase")));
}

TEST_F(Fido2CliTest, EveryFailureHasItsWordsAndAStatus) {
  const Path image = luks("disk.img");
  const std::string before = digest(image);
  EXPECT_EQ(add({image}).status, 7);
  EXPECT_THAT(add({image}).err,
              AllOf(HasSubstr("none is plugged in"), HasSubstr("plug in the FIDO2 key")));
  PluggedKey key(keys, "key");
  EXPECT_EQ(add({image}).status, 7);
  EXPECT_THAT(add({image}).err, HasSubstr("it has no PIN; set one with 'fido2-token -S"));
  key.set_pin("9999");
  EXPECT_EQ(add({image}).status, 7);
  EXPECT_EQ(key.state().tries, 7) << "the PIN of a file is tried once";
  key.set_pin("1234");
  EXPECT_EQ(digest(image), before) << "nothing was written";
  write_file(folder / "wrong", "not that");
  EXPECT_EQ(volseal({"protector", "add", "fido2", "--key-file", (folder / "wrong").native(),
                     "--pin-file", pin_file(), image.native()})
                .status,
            6);
  EXPECT_EQ(add({luks("old.img", "luks1")}).status, 64);
  EXPECT_EQ(digest(image), before);
  EXPECT_EQ(key.touches(), 0);

  ASSERT_EQ(add({image}).status, 0);
  const std::vector<std::string> test = {"protector", "test", "--pin-file",  pin_file(),
                                         "--keyslot", "1",    image.native()};
  key.pull_out_when_it_blinks();
  Result result = volseal(test);
  EXPECT_EQ(result.status, 7);
  EXPECT_THAT(result.err, AllOf(HasSubstr("pulled-out"), HasSubstr("leave the FIDO2 key in")));
  result = volseal(test);
  EXPECT_THAT(result.err, AllOf(HasSubstr("no-key"), Not(HasSubstr("/dev/tpm"))));
  PluggedKey other(keys, "other");
  other.set_pin("1234");
  result = volseal(test);
  EXPECT_EQ(result.status, 7);
  EXPECT_THAT(result.err, AllOf(HasSubstr("not-mine: Softkey other is not a key that was enrolled"),
                                HasSubstr("plug in the FIDO2 key that was enrolled")));
}

TEST_F(Fido2CliTest, NextToTheTpmItIsKnownAndNobodyIsAsked) {
  test::Swtpm swtpm;
  swtpm.extend(7, "firmware");
  tcti = swtpm.tcti();
  PluggedKey key(keys, "key");
  key.set_pin("1234");
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"protector", "add", "tpm", "--key-file", key_file(), image.native()}).status,
            0);
  const Result before = volseal({"check", image.native()});
  EXPECT_EQ(before.status, 1);
  EXPECT_THAT(before.out, HasSubstr("no fido2 protector, which group default asks for"));
  const Result added =
      volseal({"protector", "add", "fido2", "--pin-file", pin_file(), image.native()});
  ASSERT_EQ(added.status, 0) << added.err;
  const Result opened = volseal({"unlock", "--test", image.native()});
  EXPECT_EQ(opened.status, 0);
  EXPECT_THAT(opened.out, HasSubstr("opens by tpm"));
  EXPECT_THAT(opened.err, Not(HasSubstr("was added since the enrollment")));
  EXPECT_EQ(key.touches(), 2);
  EXPECT_THAT(volseal({"check", image.native()}).out, Not(HasSubstr("fido2 protector, which")));

  // Another boot: the TPM refuses, and the person has the key.
  swtpm.restart();
  swtpm.extend(7, "another firmware");
  Terminal terminal(command({"unlock", "--test", image.native()}));
  terminal.answer("PIN of the FIDO2 key", "1234\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_THAT(terminal.shown(), AllOf(HasSubstr("policy-mismatch"), HasSubstr("opens by fido2")));
}

}  // namespace
}  // namespace volseal
