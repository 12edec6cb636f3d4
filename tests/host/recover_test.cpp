// The bad day: the TPM does not open, and a person gets in, step by step; the TPM is put right, and
// a recovery key that was used is replaced, whatever is cut off on the way.
#include "core/luks/header.h"
#include "core/luks/volume.h"
#include "core/protect/recovery_key.h"
#include "tests/support/certificates.h"
#include "tests/support/softkey/key_cli_test.h"
#include "tests/support/swtpm.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <memory>

namespace volseal {
namespace {

using test::PluggedKey;
using test::Result;
using test::Terminal;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class RecoverVerbTest : public test::KeyCliTest {
 protected:
  RecoverVerbTest() {
    write_file(folder / "policy.toml", "[group.default]\nrecovery = [\"recovery-key\"]\n");
    image = luks("disk.img");
    key = add_recovery_key_to(image);
    // Nothing but what this test adds opens it.
    run_or_throw({"cryptsetup", "luksKillSlot", "-q", image.native(), "0"});
  }

  // The file that has it; its keyslot is the volume's next.
  Path add_recovery_key_to(const Path& volume) const {
    const Result added =
        volseal({"protector", "add", "recovery-key", "--key-file", key_file(), volume.native()});
    EXPECT_EQ(added.status, 0) << added.err;
    const Path file = folder / (volume.filename().native() + ".old-key");
    write_file(file, added.out);
    return file;
  }

  void add_tpm() {
    tpm = std::make_unique<test::Swtpm>();
    tpm->extend(7, "firmware");
    tcti = tpm->tcti();
    const Result added =
        volseal({"protector", "add", "tpm", "--key-file", key.native(), image.native()});
    ASSERT_EQ(added.status, 0) << added.err;
  }

  bool opens_with(const Path& file) const {
    return Volume::load(image).opens_with(read_secret(file)).has_value();
  }
  // The key that --recovery-key-dir got.
  Path new_key() const { return folder / "new" / (Volume::load(image).uuid() + ".recovery-key"); }

  std::vector<std::string> by_key(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"recover",
                                          "--keyslot",
                                          slot_of_key(),
                                          "--key-file",
                                          key.native(),
                                          "--recovery-key-dir",
                                          (folder / "new").native()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.push_back(image.native());
    return arguments;
  }
  std::string slot_of_key() const {
    return std::to_string(Volume::load(image).opens_with(read_secret(key)).value_or(-1));
  }

  std::unique_ptr<test::Swtpm> tpm;
  Path image;
  Path key;
};

TEST_F(RecoverVerbTest, AKeyThatWasTypedIsReplacedAndTheNewOneHandedOverFirst) {
  Terminal terminal(command({"recover", image.native()}));
  terminal.expect("Ways into " + image.native());
  terminal.answer("Which one", "7\n");
  terminal.expect("that is none of the numbers");
  terminal.answer("Which one", "1\n");
  terminal.answer("Recovery key of " + image.native() + ", keyslot 1", "wrong\n");
  terminal.expect("wrong-secret");
  terminal.answer("Which one", "1\n");
  terminal.answer("Recovery key of", read_file(key));
  terminal.expect("Recovery key of " + image.native());
  terminal.expect("then type its last eight letters");
  EXPECT_TRUE(opens_with(key)) << "the new one is not yet acknowledged";
  const std::string& shown = terminal.shown();
  const auto at = shown.find("kept nowhere.");
  ASSERT_NE(at, std::string::npos);
  const auto begin = shown.find_first_of("cbdefghijklnrtuv", at + sizeof("kept nowhere."));
  const std::string fresh = shown.substr(begin, 71);
  terminal.answer("", fresh.substr(63) + "\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_FALSE(opens_with(key));
  EXPECT_TRUE(Volume::load(image).opens_with(Secret::copy_of(fresh)));
  EXPECT_EQ(listed(image).size(), 1U);
  EXPECT_EQ(listed(image)[0]["kind"], "recovery-key");
  EXPECT_FALSE(
      std::filesystem::exists(folder / "state/replace" / (Volume::load(image).uuid() + ".json")));
}

TEST_F(RecoverVerbTest, ANewKeyThatNobodyAcknowledgesChangesNothing) {
  Terminal terminal(command({"recover", "--keyslot", "1", image.native()}));
  terminal.answer("Recovery key of", read_file(key));
  for (int tries = 0; tries < 3; ++tries)
    terminal.answer("then type its last eight letters", "xxxxxxxx\n");
  EXPECT_EQ(terminal.wait(), 4) << terminal.shown();
  EXPECT_TRUE(opens_with(key));
  EXPECT_EQ(listed(image).size(), 1U);
  // Nor where there is nobody and no folder: said before anything is made.
  const std::string before = digest(image);
  const Result result =
      volseal({"recover", "--keyslot", "1", "--key-file", key.native(), image.native()});
  EXPECT_EQ(result.status, 64) << result.err;
  EXPECT_THAT(result.err, HasSubstr("give --recovery-key-dir"));
  EXPECT_EQ(digest(image), before);
}

// Dies before each of its steps, one after the other; after each, a key that somebody has opens,
// and the next run brings it to its end.
TEST_F(RecoverVerbTest, ACutAtAnyStepLeavesAKeyThatOpensAndTheNextRunFinishes) {
  const Path pristine = folder / "pristine.img";
  std::filesystem::copy_file(image, pristine);
  int at = 1;
  int after_hand_over = 0;
  for (;; ++at) {
    ASSERT_LT(at, 300);
    std::filesystem::copy_file(pristine, image, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove_all(folder / "new");
    std::filesystem::remove_all(folder / "state");
    std::vector<std::string> argv = {"/usr/bin/env", "LD_PRELOAD=" VOLSEAL_DIE_AT,
                                     "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0",
                                     "VOLSEAL_DIE_AT=" + std::to_string(at)};
    const auto program = command(by_key({"--replace"}));
    argv.insert(argv.end(), std::ranges::find(program, std::string(VOLSEAL_BINARY)), program.end());
    const auto cut = run(argv);
    if (cut.status == 0) break;
    ASSERT_EQ(cut.status, 99) << at << cut.output;

    const bool has_new = std::filesystem::exists(new_key());
    const bool old_opens = opens_with(key);
    const bool new_opens = has_new && opens_with(new_key());
    EXPECT_TRUE(old_opens || new_opens) << "step " << at;
    after_hand_over += has_new ? 1 : 0;
    // As the person would: with the key that opens.
    if (!old_opens) std::filesystem::copy_file(new_key(), folder / "second-key");
    const Path works = old_opens ? key : folder / "second-key";
    const std::string slot =
        std::to_string(Volume::load(image).opens_with(read_secret(works)).value_or(-1));
    const Result again =
        volseal({"recover", "--replace", "--keyslot", slot, "--key-file", works.native(),
                 "--recovery-key-dir", (folder / "new").native(), image.native()});
    std::filesystem::remove(folder / "second-key");
    // The old key may just have gone, because the new one had been handed over.
    const bool finished =
        again.err.find("the new key opens, the old one no longer") != std::string::npos;
    EXPECT_TRUE(again.status == 0 || finished) << "step " << at << again.err;
    EXPECT_TRUE(opens_with(new_key())) << "step " << at << again.err;
    EXPECT_FALSE(opens_with(key)) << "step " << at;
    // At worst one keyslot is left that nobody has a key of, and the run said so.
    const std::size_t keyslots = Volume::load(image).keyslots().size();
    EXPECT_TRUE(keyslots == 1 ||
                (keyslots == 2 && again.err.find("cut off at its beginning") != std::string::npos))
        << "step " << at << ": " << keyslots << again.err;
  }
  EXPECT_GT(at, 8);
  EXPECT_GT(after_hand_over, 1);
  EXPECT_FALSE(opens_with(key));
  EXPECT_TRUE(opens_with(new_key()));
}

TEST_F(RecoverVerbTest, AfterAChangeOfFirmwareTheBootIsApprovedAndTheKeyReplaced) {
  add_tpm();
  Result result = volseal(by_key());
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, HasSubstr("the TPM opens it, so there is nothing to recover"));
  EXPECT_TRUE(opens_with(key));

  tpm->restart();
  tpm->extend(7, "another firmware");
  result = volseal(by_key({"--yes"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("the TPM does not open it"));
  EXPECT_FALSE(opens_with(key));
  EXPECT_TRUE(opens_with(new_key()));
  result = volseal({"unlock", "--test", image.native()});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("opens by tpm"));
  EXPECT_THAT(result.err, Not(HasSubstr("was added since the enrollment")));
}

TEST_F(RecoverVerbTest, AfterTheTpmWasReplacedItIsEnrolledAnew) {
  add_tpm();
  tpm = std::make_unique<test::Swtpm>();
  tpm->extend(7, "firmware");
  tcti = tpm->tcti();
  Result result = volseal({"unlock", "--test", image.native()});
  EXPECT_EQ(result.status, 7);
  EXPECT_THAT(result.err, HasSubstr("not-mine"));
  result = volseal(by_key({"--yes"}));
  ASSERT_EQ(result.status, 0) << result.err;
  result = volseal({"unlock", "--test", image.native()});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("opens by tpm"));
  EXPECT_FALSE(opens_with(key));
  EXPECT_TRUE(opens_with(new_key()));
  EXPECT_EQ(listed(image).size(), 2U);
}

TEST_F(RecoverVerbTest, WithoutATpmTheVolumeOpensAndTheTpmIsLeftAsItIs) {
  add_tpm();
  tcti = "swtpm:path=/nowhere";
  const Result result = volseal(by_key({"--yes", "--keep-key"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("is left as it is"), HasSubstr("'volseal recover --replace")));
  EXPECT_TRUE(opens_with(key));
  EXPECT_EQ(listed(image).size(), 2U);
}

TEST_F(RecoverVerbTest, AKeyThatWasAPartIsReplacedAsAPart) {
  PluggedKey plugged(keys, "key");
  plugged.set_pin("1234");
  const Result added = volseal({"protector", "add", "fido2+recovery-key", "--key-file",
                                key.native(), "--pin-file", pin_file(), image.native()});
  ASSERT_EQ(added.status, 0) << added.err;
  const auto slot_of_part = [&] {
    for (const auto& way : listed(image)) {
      if (way["kind"] == "fido2+recovery-key") return way["keyslot"].dump();
    }
    return std::string("none");
  };
  const std::string slot = slot_of_part();
  write_file(folder / "part", added.out);
  const std::vector<std::string> recover = {"recover",
                                            "--keyslot",
                                            slot,
                                            "--key-file",
                                            (folder / "part").native(),
                                            "--pin-file",
                                            pin_file(),
                                            "--recovery-key-dir",
                                            (folder / "new").native(),
                                            image.native()};
  const int touches = plugged.touches();
  Result result = volseal(recover);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(plugged.touches(), touches + 1);
  EXPECT_EQ(listed(image).size(), 2U);
  EXPECT_NE(slot_of_part(), slot);
  EXPECT_TRUE(opens_with(key)) << "the one that opens alone was not used";
  EXPECT_FALSE(opens_with(new_key())) << "it is a part";
  const auto test = [&](const Path& typed) {
    return volseal({"protector", "test", "--keyslot", slot_of_part(), "--key-file", typed.native(),
                    "--pin-file", pin_file(), image.native()})
        .status;
  };
  EXPECT_EQ(test(folder / "part"), 6);
  EXPECT_EQ(test(new_key()), 0);
}

TEST_F(RecoverVerbTest, WhatIsInEscrowOpensAndIsEscrowedAnew) {
  const test::Holder alice = test::holder(folder, "alice");
  std::filesystem::create_directory(folder / "deposit");
  write_file(folder / "policy.toml", "[group.default.escrow]\ncertificates = [\"" +
                                         alice.certificate.native() + "\"]\ndirectory = \"" +
                                         (folder / "deposit").native() + "\"\n");
  std::filesystem::permissions(folder / "policy.toml", std::filesystem::perms(0644));
  Result result = volseal({"escrow", "renew", "--key-file", key.native(), image.native()});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_FALSE(opens_with(key));
  const auto blob = [&] {
    std::vector<Path> blobs;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "deposit"))
      blobs.push_back(entry.path());
    std::ranges::sort(blobs, {},
                      [](const Path& path) { return std::filesystem::last_write_time(path); });
    return blobs;
  };
  ASSERT_EQ(blob().size(), 1U);
  const Path first = blob().front();
  const std::string slot = listed(image)[0]["keyslot"].dump();
  EXPECT_THAT(volseal({"recover", "--list", image.native()}).out,
              HasSubstr("in escrow with 1 of 1 certificates"));
  result = volseal({"recover", "--keyslot", slot, "--blob", first.native(), "--key",
                    alice.key.native(), image.native()});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(blob().size(), 2U);
  EXPECT_EQ(listed(image).size(), 1U);
  // The old blob's key opens nothing any more, the new one's does.
  EXPECT_EQ(volseal({"escrow", "verify", first.native(), "--key", alice.key.native(), "--volume",
                     image.native()})
                .status,
            6);
  const auto blobs = blob();
  const Path second = blobs[0] == first ? blobs[1] : blobs[0];
  EXPECT_EQ(volseal({"escrow", "verify", second.native(), "--key", alice.key.native(), "--volume",
                     image.native()})
                .status,
            0);
}

TEST_F(RecoverVerbTest, WaysInAreListedAndBadRequestsRefused) {
  Result result = volseal({"recover", "--list", "--json", image.native()});
  EXPECT_EQ(result.status, 0);
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["schema"], "volseal-recover/1");
  EXPECT_EQ(json["volumes"][0]["ways"][0]["kind"], "recovery-key");
  const std::string before = digest(image);
  EXPECT_EQ(volseal({"recover", "--json", image.native()}).status, 64);
  EXPECT_EQ(volseal({"recover", "--keyslot", "9", image.native()}).status, 4);
  EXPECT_EQ(volseal({"recover", "--key-file", key_file(), image.native()}).status, 64);
  EXPECT_EQ(volseal({"recover", "--blob", "x", image.native()}).status, 64);
  result = volseal({"recover", image.native()});
  EXPECT_EQ(result.status, 64) << "nobody is there to choose";
  EXPECT_THAT(result.err, HasSubstr("name one with --keyslot"));
  write_file(folder / "wrong", "not that");
  EXPECT_EQ(volseal({"recover", "--keyslot", "1", "--key-file", (folder / "wrong").native(),
                     image.native()})
                .status,
            6);
  EXPECT_EQ(volseal({"recover", blank("none.img", 1).native()}).status, 4);
  EXPECT_EQ(digest(image), before);
}

}  // namespace
}  // namespace volseal
