// volseal tpm as people use it, on image files.
#include "core/base/error.h"
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"
#include "tests/support/image.h"
#include "tests/support/swtpm.h"

#include <gmock/gmock.h>

namespace volseal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Result {
  int status = 0;
  std::string out;
  std::string err;
};

class TpmVerbTest : public ImageTest {
 protected:
  TpmVerbTest() {
    swtpm.extend(7, "firmware");
    write_file(folder / "policy.toml", "");
    write_file(folder / "key", "passphrase");
    write_file(folder / "pin", "correct horse");
  }

  // A shell only to keep the two outputs apart; the arguments are passed as they are.
  Result volseal(const std::vector<std::string>& arguments,
                 const std::string& state = "state") const {
    std::vector<std::string> argv = {"sh",
                                     "-c",
                                     R"(out=$1; err=$2; shift 2; exec "$@" >"$out" 2>"$err")",
                                     "sh",
                                     (folder / "stdout").native(),
                                     (folder / "stderr").native(),
                                     VOLSEAL_BINARY,
                                     "--tcti",
                                     swtpm.tcti(),
                                     "--policy",
                                     (folder / "policy.toml").native(),
                                     "--state",
                                     (folder / state).native()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const int status = run(argv).status;
    return {
        .status = status, .out = read_file(folder / "stdout"), .err = read_file(folder / "stderr")};
  }

  std::string luks2(const std::string& name) const {
    const Path image = blank(name, 32);
    run_or_throw({"cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2",
                  "--pbkdf-force-iterations", "1000", image.native(), (folder / "key").native()});
    return image.native();
  }

  std::string enrolled(const std::string& name, const std::string& state = "state") const {
    std::string image = luks2(name);
    const Result added =
        volseal({"protector", "add", "tpm", image, "--key-file", path("key")}, state);
    EXPECT_EQ(added.status, 0) << added.err;
    return image;
  }

  std::string path(const char* name) const { return (folder / name).native(); }
  int opens(const std::string& image) const { return volseal({"protector", "test", image}).status; }

  test::Swtpm swtpm;
};

constexpr int good = 0;
constexpr int warnings = 1;
constexpr int refused = 5;
constexpr int tpm_said_no = 7;

TEST_F(TpmVerbTest, AChangedBootIsExplainedApprovedAndTheOldOneRevoked) {
  const std::string first = enrolled("first.img");
  const std::string second = enrolled("second.img");
  EXPECT_EQ(volseal({"tpm", "status"}).status, good);
  EXPECT_EQ(volseal({"tpm", "explain"}).status, good);

  swtpm.restart();
  swtpm.extend(7, "new firmware");
  EXPECT_EQ(opens(first), tpm_said_no);
  const Result explained = volseal({"tpm", "explain"});
  EXPECT_EQ(explained.status, warnings);
  EXPECT_THAT(explained.out, HasSubstr("PCR 7 (Secure Boot policy) is not as approved"));
  EXPECT_THAT(volseal({"tpm", "status"}).out, HasSubstr("this boot     not approved"));

  const Result approved = volseal({"tpm", "approve", first, second});
  EXPECT_EQ(approved.status, good) << approved.err;
  EXPECT_THAT(approved.err, HasSubstr("2 of 2 volumes updated"));
  EXPECT_EQ(opens(first), good);
  EXPECT_EQ(opens(second), good);

  // One volume is away while the old boot is revoked.
  EXPECT_EQ(volseal({"tpm", "revoke", first}).status, good);
  EXPECT_EQ(opens(first), good);
  const Result away = volseal({"protector", "test", second});
  EXPECT_EQ(away.status, tpm_said_no);
  EXPECT_THAT(away.err, HasSubstr("volseal tpm sync"));
  EXPECT_EQ(volseal({"tpm", "sync", second}).status, good);
  EXPECT_EQ(opens(second), good);
}

TEST_F(TpmVerbTest, APinIsSetFromAFileAndRemoved) {
  const std::string image = enrolled("disk.img");
  EXPECT_EQ(volseal({"tpm", "pin", "remove", image}).status, 64);
  EXPECT_EQ(volseal({"tpm", "pin", "set", "--new-pin-file", path("pin"), image}).status, good);
  EXPECT_EQ(opens(image), tpm_said_no);  // nobody to ask
  EXPECT_THAT(volseal({"tpm", "status"}).out, HasSubstr("PIN           wanted at boot"));
  write_file(folder / "wrong", "battery staple");
  EXPECT_EQ(volseal({"tpm", "pin", "remove", "--pin-file", path("wrong"), image}).status, 6);
  EXPECT_EQ(volseal({"tpm", "pin", "remove", "--pin-file", path("pin"), image}).status, good);
  EXPECT_EQ(opens(image), good);
}

TEST_F(TpmVerbTest, ARevocationWaitsForEveryVolumeOfTheGroup) {
  const std::string image = enrolled("disk.img");
  const Result begun = volseal({"tpm", "revoke", image, path("absent.img")});
  EXPECT_EQ(begun.status, refused);
  EXPECT_THAT(begun.err, HasSubstr("absent.img"));
  EXPECT_EQ(opens(image), good);
  EXPECT_THAT(volseal({"tpm", "status"}).out, HasSubstr("begun and not finished"));
  EXPECT_EQ(volseal({"tpm", "pin", "set", "--new-pin-file", path("pin"), image}).status, refused);
  EXPECT_EQ(volseal({"tpm", "revoke", image}).status, good);
  EXPECT_EQ(volseal({"tpm", "status"}).status, good);
  EXPECT_EQ(opens(image), good);
}

TEST_F(TpmVerbTest, AVolumeOfAnotherMachineIsLeftAlone) {
  const std::string ours = enrolled("ours.img");
  const std::string theirs = enrolled("theirs.img", "other-state");
  const std::string before = digest(theirs);
  const Result approved = volseal({"tpm", "approve", ours, theirs});
  EXPECT_EQ(approved.status, good);
  EXPECT_THAT(approved.err, HasSubstr("belongs to a group of another machine"));
  EXPECT_EQ(digest(theirs), before);
}

TEST_F(TpmVerbTest, TheLatchClosesAndSaysSo) {
  const std::string image = enrolled("disk.img");
  EXPECT_EQ(volseal({"tpm", "latch"}).status, good);
  const Result tested = volseal({"protector", "test", image});
  EXPECT_EQ(tested.status, tpm_said_no);
  EXPECT_THAT(tested.err, HasSubstr("PCR 15 is closed for this boot"));
  EXPECT_EQ(volseal({"tpm", "explain"}).status, good);
}

TEST_F(TpmVerbTest, AGroupIsForgottenOnlyWhenItsTpmIsGone) {
  enrolled("disk.img");
  EXPECT_EQ(volseal({"tpm", "forget"}).status, refused);
  run_or_throw({"tpm2_clear", "-T", swtpm.tcti()});
  EXPECT_THAT(volseal({"tpm", "status"}).out, HasSubstr("another one, or cleared"));
  EXPECT_EQ(volseal({"tpm", "forget"}).status, good);
  EXPECT_EQ(volseal({"tpm", "status"}).status, 4);
  enrolled("new.img");
}

// The power goes while 'protector add tpm' writes: first the token, then the keyslot, then the
// token that names it. Whatever is there, the next run ends with one keyslot of the TPM and no
// orphan.
TEST_F(TpmVerbTest, AKeyslotThatAPowerCutLeftIsTakenOver) {
  const std::string image = enrolled("disk.img");
  const auto add = [&] {
    return volseal({"protector", "add", "tpm", image, "--key-file", path("key")});
  };
  const auto leave_token_alone = [&] {
    Volume volume = Volume::load(image);
    auto found = find_group_token(volume);
    ASSERT_TRUE(found);
    found->token.keyslots.clear();
    found->token.known_keyslots = {0};
    volume.set_token(to_json(found->token), found->id);
  };
  const auto expect_whole = [&] {
    const Volume volume = Volume::load(image);
    EXPECT_EQ(volume.keyslots().size(), 3U);
    EXPECT_EQ(volume.tokens().size(), 1U);
    EXPECT_EQ(volume.opens_with(Secret::copy_of("passphrase")), 0);
    EXPECT_EQ(volume.opens_with(Secret::copy_of("somebody's own")), 2);
    EXPECT_EQ(opens(image), good);
  };
  // A keyslot that no token names either, and that is none of the TPM's.
  EXPECT_EQ(Volume::load(image).add_keyslot(Secret::copy_of("passphrase"),
                                            Secret::copy_of("somebody's own"), Stretch::none),
            2);

  leave_token_alone();  // cut between keyslot and token
  const Result adopted = add();
  EXPECT_EQ(adopted.status, good) << adopted.err;
  EXPECT_THAT(adopted.err, HasSubstr("keyslot 1 of"));
  expect_whole();

  leave_token_alone();
  Volume::load(image).remove_keyslot(1);  // cut between token and keyslot
  EXPECT_EQ(add().status, good);
  expect_whole();

  EXPECT_EQ(add().status, 64);  // it has one now
  expect_whole();
}

TEST_F(TpmVerbTest, BadInputGivesOneLineAndTheRightStatus) {
  const Result none = volseal({"tpm", "status"});
  EXPECT_EQ(none.status, 4);
  EXPECT_THAT(none.err, HasSubstr("there is none in"));
  enrolled("disk.img");
  EXPECT_EQ(volseal({"tpm", "status", "--group", "nobody"}).status, 4);
  EXPECT_EQ(volseal({"tpm", "status", "--group", "../../etc"}).status, 78);
  EXPECT_EQ(volseal({"tpm", "pin", "forget"}).status, 64);
  write_file(folder / "state" / "groups" / "default" / "sealed.json", "{\"version\":1");
  const Result damaged = volseal({"tpm", "approve"});
  EXPECT_EQ(damaged.status, 4);
  EXPECT_THAT(damaged.err, HasSubstr("sealed group"));
  swtpm.stop();
  EXPECT_EQ(volseal({"tpm", "status"}).status, tpm_said_no);
}

}  // namespace
}  // namespace volseal
