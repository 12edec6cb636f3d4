// A group's secret: sealed once, opened in every boot that was measured alike.
#include "tests/tpm/tpm_test.h"
#include "tpm/state.h"

#include <sys/stat.h>

namespace volseal::tpm {
namespace {

using ::testing::HasSubstr;

class GroupTest : public TpmTest {};

TEST_F(GroupTest, OpensTheSameSecretInTheNextBoot) {
  const OpenedGroup made = open_group();
  EXPECT_TRUE(made.created);
  EXPECT_EQ(made.secret.size(), 32U);
  reboot();
  const GroupKey key = recover(made.sealed);
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_TRUE(key.secret.equal(made.secret));
}

TEST_F(GroupTest, AFurtherVolumeGetsTheSameSecret) {
  const OpenedGroup first = open_group();
  const OpenedGroup second = open_group();
  EXPECT_FALSE(second.created);
  EXPECT_EQ(first.sealed, second.sealed);
  EXPECT_TRUE(first.secret.equal(second.secret));
}

TEST_F(GroupTest, GroupsHaveSecretsOfTheirOwn) {
  const OpenedGroup first = open_group();
  group.name = "tenant-b";
  const OpenedGroup second = open_group();
  EXPECT_FALSE(first.secret.equal(second.secret));
}

TEST_F(GroupTest, RefusesAfterAMeasuredPcrChanges) {
  const OpenedGroup made = open_group();
  swtpm.restart();
  swtpm.extend(7, "another secure boot policy");
  const GroupKey key = recover(made.sealed);
  EXPECT_EQ(key.outcome, Outcome::policy_mismatch);
  EXPECT_THAT(key.reason, HasSubstr("PCR 7 is not as approved"));
  EXPECT_TRUE(key.secret.empty());
}

TEST_F(GroupTest, NamesEveryPcrThatMoved) {
  group.tpm.pcrs = {0, 4, 7};
  const auto measure = [&](std::string_view loader, std::string_view policy) {
    swtpm.extend(0, "firmware");
    swtpm.extend(4, loader);
    swtpm.extend(7, policy);
  };
  measure("grub", "policy");
  const OpenedGroup made = open_group();
  swtpm.restart();
  measure("another grub", "another policy");
  EXPECT_THAT(recover(made.sealed).reason, HasSubstr("PCRs 4 and 7 are not as approved"));
}

TEST_F(GroupTest, TheLatchEndsUnsealingUntilTheNextBoot) {
  const OpenedGroup made = open_group();
  {
    Connection tpm = connect();
    EXPECT_FALSE(latch_closed(tpm, "sha256", 15));
    extend_latch(tpm, 15);
    EXPECT_TRUE(latch_closed(tpm, "sha256", 15));
  }
  const GroupKey key = recover(made.sealed);
  EXPECT_EQ(key.outcome, Outcome::policy_mismatch);
  EXPECT_THAT(key.reason, HasSubstr("PCR 15 is closed for this boot"));
  reboot();
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened);
}

TEST_F(GroupTest, TheLateCopyOpensBehindTheLatch) {
  const OpenedGroup made = open_group({.pin = nullptr, .ask_pin = {}, .late_copy = true});
  {
    Connection tpm = connect();
    extend_latch(tpm, 15);
  }
  const OpenedGroup late = open_group();
  EXPECT_TRUE(late.secret.equal(made.secret));
  // A volume that is plugged in now.
  const GroupKey key = TpmGroupProtector(swtpm.tcti(), {}, state).recover(made.sealed, {});
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_TRUE(key.secret.equal(made.secret));
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::policy_mismatch);
  // A disk with the state folder, in another machine, is worth nothing.
  const test::Swtpm other;
  Connection tpm = Connection::connect(other.tcti());
  EXPECT_EQ(error_of([&] { open_or_create_group(tpm, group, state); }).code(), Code::tpm_refused);
}

TEST_F(GroupTest, WithoutALateCopyThePolicyKeyOpensBehindTheLatch) {
  const OpenedGroup made = open_group();
  Connection tpm = connect();
  extend_latch(tpm, 15);
  EXPECT_TRUE(open_or_create_group(tpm, group, state).secret.equal(made.secret));
  std::filesystem::remove(state / "groups" / "default" / "policy-key.pem");
  const Error error = error_of([&] { open_or_create_group(tpm, group, state); });
  EXPECT_EQ(error.code(), Code::tpm_refused);
  EXPECT_THAT(error.what(), HasSubstr("PCR 15 is closed for this boot"));
}

TEST_F(GroupTest, AGroupMadeBehindTheLatchOpensInTheNextBoot) {
  {
    Connection tpm = connect();
    extend_latch(tpm, 15);
  }
  const OpenedGroup made = open_group();
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::policy_mismatch);
  reboot();
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened);
}

TEST_F(GroupTest, AMissingLateCopyIsMadeWhenTheGroupIsOpened) {
  const OpenedGroup made = open_group();
  open_group({.pin = nullptr, .ask_pin = {}, .late_copy = true});
  {
    Connection tpm = connect();
    extend_latch(tpm, 15);
  }
  EXPECT_TRUE(open_group().secret.equal(made.secret));
}

TEST_F(GroupTest, AnotherTpmSaysThatItIsNotItsOwn) {
  const OpenedGroup made = open_group();
  test::Swtpm other;
  other.extend(7, "secure boot policy");
  const GroupKey bare = TpmGroupProtector(other.tcti()).recover(made.sealed, {});
  EXPECT_EQ(bare.outcome, Outcome::not_mine) << bare.reason;
  {
    Connection tpm = Connection::connect(other.tcti());
    const Path elsewhere = state / "other";
    open_or_create_group(tpm, group, elsewhere);
  }
  const GroupKey provisioned = TpmGroupProtector(other.tcti()).recover(made.sealed, {});
  EXPECT_EQ(provisioned.outcome, Outcome::not_mine) << provisioned.reason;
}

TEST_F(GroupTest, RefusesPcrsThatNothingWasMeasuredInto) {
  group.tpm.pcrs = {7, 11};
  const Error error = error_of([&] { open_group(); });
  EXPECT_EQ(error.code(), Code::tpm_refused);
  EXPECT_THAT(error.what(), HasSubstr("PCR 11"));
  EXPECT_THAT(error.what(), HasSubstr("all zeros"));
  group.tpm.pcrs = {7, 17};
  EXPECT_THAT(error_of([&] { open_group(); }).what(), HasSubstr("all ones"));
  group.tpm.allow_unmeasured = true;
  EXPECT_TRUE(open_group().created);
}

TEST_F(GroupTest, RefusesALatchThatCanBeReset) {
  group.tpm.latch = 16;
  EXPECT_EQ(error_of([&] { open_group(); }).code(), Code::bad_policy);
  group.tpm.latch = 7;
  EXPECT_EQ(error_of([&] { open_group(); }).code(), Code::bad_policy);
}

TEST_F(GroupTest, ItsFilesAreForRootAlone) {
  open_group({.pin = nullptr, .ask_pin = {}, .late_copy = true});
  for (const auto& entry : std::filesystem::directory_iterator(state / "groups" / "default")) {
    struct stat status{};
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 077U, 0U) << entry.path();
  }
}

TEST_F(GroupTest, GarbageIsDamagedWithOrWithoutATpm) {
  EXPECT_EQ(recover("{}").outcome, Outcome::damaged);
  EXPECT_EQ(TpmGroupProtector("swtpm:path=/nonexistent/tpm").recover("garbage", {}).outcome,
            Outcome::damaged);
}

TEST_F(GroupTest, AnAbsentTpmIsUnavailable) {
  const OpenedGroup made = open_group();
  const GroupKey key = TpmGroupProtector("swtpm:path=/nonexistent/tpm").recover(made.sealed, {});
  EXPECT_EQ(key.outcome, Outcome::unavailable);
}

TEST_F(GroupTest, APinIsAskedForAndGuessesAreCounted) {
  const Secret pin = Secret::copy_of("correct horse");
  const OpenedGroup made = open_group({.pin = &pin, .ask_pin = {}, .late_copy = false});
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::needs_pin);
  const GroupKey wrong = recover(made.sealed, pin_is("battery staple"));
  EXPECT_EQ(wrong.outcome, Outcome::wrong_pin) << wrong.reason;
  const int left = wrong.tries_left.value_or(0);
  ASSERT_GT(left, 0);
  const GroupKey again = recover(made.sealed, pin_is("battery staples"));
  EXPECT_EQ(again.tries_left, left - 1);
  EXPECT_EQ(recover(made.sealed, pin_is("correct horse")).outcome, Outcome::opened);
  // A good PIN forgets the guesses.
  EXPECT_EQ(recover(made.sealed, pin_is("nonsense")).tries_left, left);
}

TEST_F(GroupTest, TooManyGuessesAreALockoutNotAWrongPin) {
  const Secret pin = Secret::copy_of("correct horse");
  const OpenedGroup made = open_group({.pin = &pin, .ask_pin = {}, .late_copy = false});
  GroupKey key;
  for (int i = 0; i < 40; ++i) {
    key = recover(made.sealed, pin_is("guess"));
    if (key.outcome != Outcome::wrong_pin) break;
  }
  EXPECT_EQ(key.outcome, Outcome::locked_out) << key.reason;
  EXPECT_GT(key.retry_after.count(), 0);
  bool asked = false;
  const AskPin ask = [&](const std::string&) -> std::optional<Secret> {
    asked = true;
    return std::nullopt;
  };
  EXPECT_EQ(recover(made.sealed, ask).outcome, Outcome::locked_out);
  EXPECT_FALSE(asked);
}

TEST_F(GroupTest, SealsAgainstUncleanShutdownsWithoutAPin) {
  const OpenedGroup made = open_group();
  // Without noDA some thirty of these would lock the object out.
  for (int i = 0; i < 40; ++i) swtpm.cut_power();
  boot();
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened);
}

TEST_F(GroupTest, NothingStaysInTheTpm) {
  const Secret pin = Secret::copy_of("correct horse");
  const OpenedGroup made = open_group({.pin = &pin, .ask_pin = {}, .late_copy = true});
  recover(made.sealed, pin_is("correct horse"));
  recover(made.sealed, pin_is("wrong"));
  swtpm.extend(7, "something else");
  recover(made.sealed, pin_is("correct horse"));
  EXPECT_EQ(leaked_handles(), 0U);
}

TEST_F(GroupTest, AnUnlockTakesSevenCommands) {
  const OpenedGroup made = open_group();
  reboot();
  swtpm.proxy().take_exchanges();
  ASSERT_EQ(recover(made.sealed).outcome, Outcome::opened);
  std::vector<std::uint32_t> codes;
  for (const auto& exchange : swtpm.proxy().take_exchanges())
    codes.push_back(exchange.command_code());
  // StartAuthSession, PolicyPCR, PolicyNV, PolicyAuthorize, Load, Unseal, FlushContext
  EXPECT_THAT(codes, ::testing::ElementsAre(0x176, 0x17f, 0x149, 0x16a, 0x157, 0x15e, 0x165));
}

}  // namespace
}  // namespace volseal::tpm
