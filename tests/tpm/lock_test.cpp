// After a lock-down: what root has kept of the group opens nothing, and the group can begin anew.
#include "core/base/digest.h"
#include "tests/tpm/tpm_test.h"
#include "tpm/approval.h"
#include "tpm/counter.h"
#include "tpm/late.h"
#include "tpm/lock_down.h"

namespace volseal::tpm {
namespace {

using LockDownTest = TpmTest;

// The steps of cli/lock_down.cpp that concern the TPM.
void lock(Connection& tpm, const GroupState& there) {
  destroy_keys(there);
  void_approvals(tpm, there);
}

TEST_F(LockDownTest, OldApprovalsAndTheLateCopyOpenNothingAnyMore) {
  const std::string sealed = open_group({.late_copy = true}).sealed;
  const GroupState there(state, "default");
  ASSERT_EQ(recover(sealed).outcome, Outcome::opened);
  Connection tpm = connect();
  ASSERT_EQ(recover_late(tpm, there).outcome, Outcome::opened);
  const auto late = there.late();

  lock(tpm, there);
  EXPECT_FALSE(there.policy_key());
  EXPECT_EQ(recover_late(tpm, there).outcome, Outcome::unavailable);
  // The object without its auth value: as good as any other one.
  there.save_late(*late, Secret::random(32));
  EXPECT_EQ(recover_late(tpm, there).outcome, Outcome::damaged);
  tpm = Connection::connect(swtpm.tcti());
  EXPECT_THAT(error_of([&] { approve_state(tpm, there); }).what(),
              ::testing::HasSubstr("its policy key is not in"));
}

TEST_F(LockDownTest, NoBootOpensByATokenThatSomebodyKept) {
  const std::string sealed = open_group().sealed;
  {
    Connection tpm = connect();
    EXPECT_EQ(void_approvals(tpm, GroupState(state, "default")), 1);
    // Once more, as after a cut: nothing to do.
    EXPECT_EQ(void_approvals(tpm, GroupState(state, "default")), 0);
  }
  EXPECT_EQ(recover(sealed).outcome, Outcome::revoked);
  reboot();
  EXPECT_EQ(recover(sealed).outcome, Outcome::revoked);
}

TEST_F(LockDownTest, ARevocationThatWasBegunIsVoidToo) {
  open_group();
  const GroupState there(state, "default");
  std::string begun;
  {
    Connection tpm = connect();
    begun = begin_revocation(tpm, there);
    EXPECT_EQ(void_approvals(tpm, there), 2);
  }
  EXPECT_EQ(recover(begun).outcome, Outcome::revoked);
}

TEST_F(LockDownTest, KeysAreOverwrittenNotOnlyRemoved) {
  open_group({.late_copy = true});
  const GroupState there(state, "default");
  // Still open: the bytes that the names stood for.
  std::vector<UniqueFd> files;
  for (const char* name : {"policy-key.pem", "late.key"})
    files.push_back(open_file(there.folder() / name, 0));
  destroy_keys(there);
  destroy_keys(there);
  for (const UniqueFd& file : files) {
    const std::string bytes =
        read_file(fmt::format("/proc/self/fd/{}", file.get()), std::size_t{1} << 16U);
    EXPECT_FALSE(bytes.empty());
    EXPECT_EQ(bytes.find_first_not_of('\0'), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(there.folder() / "late.json"));
  EXPECT_TRUE(there.sealed());
}

TEST_F(LockDownTest, TheGroupBeginsAnewWithAnotherSecretAndCounter) {
  const OpenedGroup before = open_group({.late_copy = true});
  const GroupState there(state, "default");
  const std::uint32_t old_counter = parse_sealed(before.sealed).counter;
  {
    Connection tpm = connect();
    lock(tpm, there);
    EXPECT_EQ(begin_anew(tpm, there, "another one"), "") << "not the group that was locked";
    EXPECT_FALSE(begin_anew(tpm, there, sha256_hex(before.sealed)).empty());
    EXPECT_EQ(begin_anew(tpm, there, sha256_hex(before.sealed)), "");
  }
  const OpenedGroup after = open_group({.late_copy = true});
  EXPECT_TRUE(after.created);
  EXPECT_FALSE(after.secret.equal(before.secret));
  EXPECT_NE(parse_sealed(after.sealed).counter, old_counter);
  EXPECT_EQ(recover(after.sealed).outcome, Outcome::opened);
  EXPECT_NE(recover(before.sealed).outcome, Outcome::opened);
  EXPECT_FALSE(same_group(after.sealed, before.sealed));
  Connection tpm = connect();
  EXPECT_TRUE(recover_late(tpm, there).secret.equal(after.secret));
  // The index of the counter is free again.
  EXPECT_THROW(read_counter(tpm, old_counter), Error);
  EXPECT_EQ(leaked_handles(), 0U);
}

}  // namespace
}  // namespace volseal::tpm
