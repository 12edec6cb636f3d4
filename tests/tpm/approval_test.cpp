// Approved again and again, revoked without a lockout, with a PIN and without.
#include "tpm/approval.h"

#include "core/base/process.h"
#include "tests/tpm/tpm_test.h"
#include "tpm/counter.h"

namespace volseal::tpm {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class ApprovalTest : public TpmTest {
 protected:
  GroupState folder() const { return {state, "default"}; }
  void boot_with(std::string_view policy) {
    swtpm.restart();
    swtpm.extend(7, policy);
  }
  std::string approve(const ApproveOptions& options = {}) {
    Connection tpm = connect();
    return approve_state(tpm, folder(), options);
  }
  std::string begin_revoke() {
    Connection tpm = connect();
    return begin_revocation(tpm, folder());
  }
  void finish() {
    Connection tpm = connect();
    finish_revocation(tpm, folder());
  }
  std::string change_pin(const Secret* pin, const AskPin& old = {}) {
    Connection tpm = connect();
    return begin_pin_change(tpm, folder(), {.pin = pin, .ask_old_pin = old});
  }
  GroupStatus status() {
    Connection tpm = connect();
    return group_status(tpm, folder());
  }
};

TEST_F(ApprovalTest, AnApprovedBootOpensAndSoDoesTheOldOne) {
  const OpenedGroup made = open_group();
  boot_with("updated policy");
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::policy_mismatch);
  const std::string text = approve();
  const GroupKey key = recover(text);
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_TRUE(key.secret.equal(made.secret));
  boot_with("secure boot policy");
  EXPECT_EQ(recover(text).outcome, Outcome::opened);
  boot_with("a third policy");
  EXPECT_EQ(recover(text).outcome, Outcome::policy_mismatch);
}

TEST_F(ApprovalTest, ApprovingCostsNoWriteToTheTpm) {
  open_group();
  boot_with("updated policy");
  swtpm.proxy().take_exchanges();
  approve();
  for (const auto& exchange : swtpm.proxy().take_exchanges()) {
    // Create, CreatePrimary, EvictControl, NV_DefineSpace, NV_Increment, NV_Write
    EXPECT_THAT(exchange.command_code(),
                ::testing::Not(::testing::AnyOf(0x153U, 0x131U, 0x120U, 0x12aU, 0x134U, 0x137U)));
  }
}

TEST_F(ApprovalTest, AnApprovalCanBeSignedBehindTheLatch) {
  open_group();
  boot_with("updated policy");
  {
    Connection tpm = connect();
    extend_latch(tpm, 15);
  }
  const std::string text = approve();
  boot_with("updated policy");
  EXPECT_EQ(recover(text).outcome, Outcome::opened);
}

TEST_F(ApprovalTest, EightStatesFitAndTheNinthIsRefused) {
  open_group();
  std::string text;
  for (int i = 1; i < 8; ++i) {
    boot_with("policy " + std::to_string(i));
    text = approve();
  }
  EXPECT_THAT(status().states, SizeIs(8));
  EXPECT_LE(text.size(), SealedGroup::max_text);
  EXPECT_EQ(recover(text).outcome, Outcome::opened);
  boot_with("one too many");
  EXPECT_EQ(error_of([&] { approve(); }).code(), Code::tpm_refused);
  text = approve({.allow_unmeasured = false, .drop_oldest = true});
  EXPECT_EQ(recover(text).outcome, Outcome::opened);
  boot_with("policy 7");
  EXPECT_EQ(recover(text).outcome, Outcome::opened);
  boot_with("secure boot policy");
  EXPECT_EQ(recover(text).outcome, Outcome::policy_mismatch);
}

TEST_F(ApprovalTest, EightStatesWithManyPcrsAndAnRsaRootStillFit) {
  SealedGroup sealed = parse_sealed(open_group().sealed);
  sealed.group = std::string(64, 'g');
  sealed.bank = "sha512";
  sealed.pcrs = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23};
  sealed.srk = Bytes(316, 0x55);
  sealed.pin = PinStretch{.salt = Bytes(32, 1), .iterations = 10'000'000};
  sealed.events = Bytes(SealedGroup::event_size * SealedGroup::max_events, 7);
  sealed.sequence = UINT64_MAX;
  sealed.states.assign(8, {.approved = 1LL << 34,
                           .composite = Bytes(32, 2),
                           .prefixes = Bytes(std::size_t{24} * 4, 3)});
  EXPECT_EQ(to_json(parse_sealed(to_json(sealed))), to_json(sealed));
}

TEST_F(ApprovalTest, ABootThatMeasuredNothingIsApprovedOnRequestOnly) {
  open_group();
  swtpm.restart();  // PCR 7 stays at zero
  const Error error = error_of([&] { approve(); });
  EXPECT_EQ(error.code(), Code::tpm_refused);
  EXPECT_THAT(error.what(), HasSubstr("PCR 7: it is all zeros"));
  EXPECT_EQ(recover(approve({.allow_unmeasured = true})).outcome, Outcome::opened);
}

TEST_F(ApprovalTest, ALockoutAuthorisationIsReportedAndNeverGuessed) {
  const Secret pin = Secret::copy_of("correct horse");
  const OpenedGroup made = open_group({.pin = &pin, .ask_pin = {}, .late_copy = false});
  EXPECT_FALSE(status().dictionary_attack.lockout_auth_set);
  run_or_throw({"tpm2_changeauth", "-T", swtpm.tcti(), "-c", "lockout", "password"});
  EXPECT_TRUE(status().dictionary_attack.lockout_auth_set);
  EXPECT_EQ(recover(made.sealed, pin_is("battery staple")).outcome, Outcome::wrong_pin);
  swtpm.proxy().take_exchanges();
  EXPECT_EQ(recover(made.sealed, pin_is("correct horse")).outcome, Outcome::opened);
  // DictionaryAttackLockReset with a guess would lock the lockout hierarchy itself.
  for (const auto& exchange : swtpm.proxy().take_exchanges())
    EXPECT_NE(exchange.command_code(), 0x139U);
  EXPECT_EQ(status().dictionary_attack.failures, 1);
  EXPECT_FALSE(status().dictionary_attack.locked_out);
}

TEST_F(ApprovalTest, RevocationLeavesOnlyThisBoot) {
  const OpenedGroup made = open_group();
  boot_with("updated policy");
  approve();
  const std::string text = begin_revoke();
  finish();
  EXPECT_EQ(recover(text).outcome, Outcome::opened);
  boot_with("secure boot policy");
  EXPECT_EQ(recover(text).outcome, Outcome::policy_mismatch);
  const GroupKey old = recover(made.sealed);
  EXPECT_EQ(old.outcome, Outcome::revoked) << old.reason;
}

// Two tenants: what is done to one's secret, counter and PIN is nothing to the other.
TEST_F(ApprovalTest, RevokingOneGroupTouchesNoOther) {
  const OpenedGroup ours = open_group();
  Group other = group;
  other.name = "tenant-b";
  const auto open_other = [&] {
    Connection tpm = connect();
    return open_or_create_group(tpm, other, state);
  };
  const auto status_of_other = [&] {
    Connection tpm = connect();
    return group_status(tpm, GroupState(state, other.name));
  };
  const OpenedGroup theirs = open_other();
  EXPECT_FALSE(ours.secret.equal(theirs.secret));
  const GroupStatus before = status_of_other();
  EXPECT_NE(before.sealed.counter, status().sealed.counter);
  EXPECT_NE(before.sealed.policy_key, status().sealed.policy_key);

  boot_with("updated policy");
  approve();
  EXPECT_EQ(recover(theirs.sealed).outcome,
            Outcome::policy_mismatch);  // an approval is one group's
  boot_with("secure boot policy");
  const std::string revoked = begin_revoke();
  finish();
  const Secret pin = Secret::copy_of("first pin");
  change_pin(&pin);
  finish();

  EXPECT_EQ(recover(ours.sealed).outcome, Outcome::revoked);
  EXPECT_EQ(recover(revoked).outcome, Outcome::revoked);
  const GroupKey key = recover(theirs.sealed);
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_TRUE(key.secret.equal(theirs.secret));
  const GroupStatus after = status_of_other();
  EXPECT_EQ(after.counter, before.counter);
  EXPECT_EQ(open_other().sealed, theirs.sealed);
}

TEST_F(ApprovalTest, APowerCutWithinARevocationLocksNobodyOut) {
  open_group();
  boot_with("updated policy");
  const std::string before = approve();
  const std::string after = begin_revoke();
  // The cut: some tokens have the new text, some the old one, and the counter has not moved.
  boot_with("updated policy");
  EXPECT_EQ(recover(before).outcome, Outcome::opened);
  EXPECT_EQ(recover(after).outcome, Outcome::opened);
  EXPECT_TRUE(status().revocation_pending);
  EXPECT_EQ(begin_revoke(), after);
  finish();
  EXPECT_FALSE(status().revocation_pending);
  EXPECT_EQ(recover(after).outcome, Outcome::opened);
  EXPECT_EQ(recover(before).outcome, Outcome::revoked);
  finish();
  EXPECT_EQ(recover(after).outcome, Outcome::opened);
}

TEST_F(ApprovalTest, RevokingFromABootThatIsNotApprovedIsRefused) {
  open_group();
  boot_with("updated policy");
  EXPECT_EQ(error_of([&] { begin_revoke(); }).code(), Code::unsafe);
}

TEST_F(ApprovalTest, APinIsSetChangedAndRemovedWithTheSameSecret) {
  const OpenedGroup made = open_group();
  const Secret first = Secret::copy_of("first pin");
  const Secret second = Secret::copy_of("second pin");

  const std::string with_first = change_pin(&first);
  finish();
  const GroupKey key = recover(with_first, pin_is("first pin"));
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_TRUE(key.secret.equal(made.secret));
  // What was sealed without a PIN is worth nothing now.
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::revoked);

  EXPECT_EQ(error_of([&] { change_pin(&second, pin_is("wrong")); }).code(), Code::wrong_secret);
  const std::string with_second = change_pin(&second, pin_is("first pin"));
  finish();
  EXPECT_EQ(recover(with_second, pin_is("first pin")).outcome, Outcome::wrong_pin);
  EXPECT_EQ(recover(with_second, pin_is("second pin")).outcome, Outcome::opened);
  EXPECT_EQ(recover(with_first, pin_is("first pin")).outcome, Outcome::revoked);

  const std::string without = change_pin(nullptr, pin_is("second pin"));
  finish();
  const GroupKey last = recover(without);
  ASSERT_EQ(last.outcome, Outcome::opened) << last.reason;
  EXPECT_TRUE(last.secret.equal(made.secret));
  // Approving goes on with the new policy key.
  boot_with("updated policy");
  EXPECT_EQ(recover(approve()).outcome, Outcome::opened);
}

TEST_F(ApprovalTest, OnlyAnApprovalOfTheSameGroupAndTpmTakesATokensPlace) {
  const std::string first = open_group().sealed;
  const std::string second = begin_revoke();
  EXPECT_TRUE(supersedes(second, first));
  EXPECT_TRUE(supersedes(first, first));
  EXPECT_FALSE(supersedes(first, second));
  EXPECT_FALSE(supersedes(first, "garbage"));
  // A disk of another machine that has a group of that name, too.
  test::Swtpm other;
  other.extend(7, "secure boot policy");
  Connection tpm = Connection::connect(other.tcti());
  const std::string foreign = open_or_create_group(tpm, group, state / "other").sealed;
  EXPECT_FALSE(supersedes(second, foreign));
}

TEST_F(ApprovalTest, APowerCutWithinAPinChangeKeepsTheKeyInForce) {
  open_group();
  const Path keys = state / "groups" / "default";
  const Secret first = Secret::copy_of("first pin");
  change_pin(&first);
  // As if the power had gone before the new key took the old one's name.
  std::filesystem::rename(keys / "policy-key.pem", keys / "policy-key.next.pem");
  write_file(keys / "policy-key.pem", read_file(keys / "policy-key.next.pem"));
  EXPECT_TRUE(status().policy_key_there);
  EXPECT_EQ(error_of([&] { change_pin(nullptr, pin_is("first pin")); }).code(), Code::unsafe);
  finish();
  const std::string text = change_pin(nullptr, pin_is("first pin"));
  finish();
  EXPECT_EQ(recover(text).outcome, Outcome::opened);
}

TEST_F(ApprovalTest, AnApprovalByAnotherKeyIsForged) {
  const OpenedGroup made = open_group();
  SealedGroup forged = parse_sealed(made.sealed);
  const PolicyKey other = PolicyKey::generate();
  forged.signature = other.sign(approval_digest(forged));
  const GroupKey unsigned_by_ours = recover(to_json(forged));
  EXPECT_EQ(unsigned_by_ours.outcome, Outcome::forged);
  EXPECT_THAT(unsigned_by_ours.reason, HasSubstr("not signed by the group's policy key"));
  forged.policy_key = other.public_point();
  forged.signature = other.sign(approval_digest(forged));
  const GroupKey key = recover(to_json(forged));
  EXPECT_EQ(key.outcome, Outcome::forged);
  EXPECT_THAT(key.reason, HasSubstr("not bound to the group's policy key"));
}

TEST_F(ApprovalTest, AForgottenTicketCostsThreeCommandsNotTheBoot) {
  const OpenedGroup made = open_group();
  SealedGroup sealed = parse_sealed(made.sealed);
  sealed.ticket.back() ^= 1U;
  const GroupKey key = recover(to_json(sealed));
  EXPECT_EQ(key.outcome, Outcome::opened) << key.reason;
  sealed.ticket.clear();
  swtpm.proxy().take_exchanges();
  EXPECT_EQ(recover(to_json(sealed)).outcome, Outcome::opened);
  EXPECT_THAT(swtpm.proxy().take_exchanges(), SizeIs(10));
}

TEST_F(ApprovalTest, CorruptedBlobsAreDamagedAndOpenNothing) {
  const OpenedGroup made = open_group();
  SealedGroup sealed = parse_sealed(made.sealed);
  sealed.object_private[20] ^= 1U;
  EXPECT_EQ(recover(to_json(sealed)).outcome, Outcome::damaged);
  sealed = parse_sealed(made.sealed);
  sealed.object_public.back() ^= 1U;
  EXPECT_EQ(recover(to_json(sealed)).outcome, Outcome::damaged);
  sealed = parse_sealed(made.sealed);
  sealed.object_public[4] ^= 1U;
  EXPECT_EQ(recover(to_json(sealed)).outcome, Outcome::forged);
  sealed = parse_sealed(made.sealed);
  sealed.srk[20] ^= 1U;
  EXPECT_THAT(recover(to_json(sealed)).outcome,
              ::testing::AnyOf(Outcome::damaged, Outcome::not_mine));
  sealed = parse_sealed(made.sealed);
  sealed.states.front().composite[0] ^= 1U;
  EXPECT_EQ(recover(to_json(sealed)).outcome, Outcome::forged);
}

TEST_F(ApprovalTest, ACounterThatIsGoneIsSaidToBeGone) {
  const OpenedGroup made = open_group();
  {
    Connection tpm = connect();
    remove_counter(tpm, parse_sealed(made.sealed).counter);
  }
  const GroupKey key = recover(made.sealed);
  EXPECT_EQ(key.outcome, Outcome::damaged);
  EXPECT_THAT(key.reason, HasSubstr("revocation counter is gone"));
  EXPECT_FALSE(status().counter);
}

TEST_F(ApprovalTest, StatusSaysWhatIsThere) {
  open_group({.pin = nullptr, .ask_pin = {}, .late_copy = true});
  GroupStatus now = status();
  EXPECT_TRUE(now.current_approved);
  EXPECT_TRUE(now.our_tpm);
  EXPECT_TRUE(now.late_copy_there);
  EXPECT_TRUE(now.policy_key_there);
  EXPECT_FALSE(now.latch_closed);
  EXPECT_FALSE(now.dictionary_attack.lockout_auth_set);
  EXPECT_GT(now.dictionary_attack.tries_left, 0);
  boot_with("updated policy");
  now = status();
  EXPECT_FALSE(now.current_approved);
  EXPECT_EQ(error_of([&] {
              Connection tpm = connect();
              group_status(tpm, GroupState(state, "nobody"));
            }).code(),
            Code::not_found);
}

}  // namespace
}  // namespace volseal::tpm
