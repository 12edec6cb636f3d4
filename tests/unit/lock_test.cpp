// Whether people still get in, when a policy locks by itself, and what the notes of it say.
#include "core/base/error.h"
#include "core/lock/plan.h"
#include "core/lock/record.h"
#include "core/lock/trigger.h"
#include "core/watch/header_watch.h"
#include "tests/support/image.h"
#include "tests/support/machine.h"

#include <gmock/gmock.h>

namespace volseal {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// --- who gets in ------------------------------------------------------------------------------

class LockPlanTest : public ::testing::Test {
 protected:
  // Keyslot 0: recovery key, 1: TPM; more are added.
  LockPlanTest() { volume = machine.luks(machine.disk("sda")); }

  LuksHeader& header() { return *machine.graph[volume].luks; }
  void add(int slot, const std::string& type, bool two_factors = false,
           std::vector<std::string> parts = {}) {
    header().keyslots.push_back({.id = slot, .type = "luks2"});
    header().tokens.push_back({.id = slot + 10,
                               .type = type,
                               .keyslots = {slot},
                               .two_factors = two_factors,
                               .parts = std::move(parts)});
    number();
  }
  void number() {
    for (Keyslot& slot : header().keyslots) slot.fingerprint = fmt::format("print{}", slot.id);
  }
  void drilled(int slot) {
    drills.push_back({.luks_uuid = header().uuid,
                      .fingerprint = fmt::format("print{}", slot),
                      .keyslot = slot,
                      .opened = "2026-01-02T03:04:05.000Z"});
  }
  LockPlan plan() {
    number();
    return plan_lock(machine.graph, "default", drills);
  }

  test::Machine machine;
  DeviceIndex volume = 0;
  std::vector<Drill> drills;
};

TEST_F(LockPlanTest, ARecoveryKeyAloneIsOneFactorWhoeverDrilledIt) {
  drilled(0);
  ASSERT_EQ(plan().volumes.size(), 1U);
  EXPECT_EQ(plan().recovery(), Recovery::one_factor);
  EXPECT_THAT(plan().volumes[0].tpm_keyslots, ElementsAre(1));
}

TEST_F(LockPlanTest, WhatHasTwoFactorsCountsOnceADrillHasOpenedIt) {
  add(2, "systemd-fido2", true);
  EXPECT_EQ(plan().recovery(), Recovery::unproven);
  drilled(0);
  EXPECT_EQ(plan().recovery(), Recovery::unproven);
  drilled(2);
  EXPECT_EQ(plan().recovery(), Recovery::proven);
}

TEST_F(LockPlanTest, TwoWaysOfDifferentKindsAreTwoFactorsAndTwoKeysAreNot) {
  add(2, "systemd-recovery");
  drilled(0);
  drilled(2);
  EXPECT_EQ(plan().recovery(), Recovery::one_factor);
  add(3, "systemd-fido2", false);
  EXPECT_EQ(plan().recovery(), Recovery::unproven);
  drilled(3);
  EXPECT_EQ(plan().recovery(), Recovery::proven);
}

TEST_F(LockPlanTest, WhatTheTpmHasAPartInHelpsNobodyThen) {
  header().keyslots.erase(header().keyslots.begin());
  header().tokens.erase(header().tokens.begin());
  EXPECT_EQ(plan().recovery(), Recovery::none);
  add(2, "volseal-all-of", false, {"tpm", "passphrase"});
  drilled(2);
  EXPECT_EQ(plan().recovery(), Recovery::none);
}

TEST_F(LockPlanTest, WhoUsesItIsNamedAllTheWayUp) {
  const auto data = machine.crypt(volume, "data");
  EXPECT_THAT(plan().volumes[0].busy, IsEmpty());
  EXPECT_EQ(plan().volumes[0].mapping, "data");
  const auto lv = machine.mapped("vg-lv", "linear", {data});
  machine.holds(lv, "ext4", "/srv");
  machine.graph.swap_files.push_back({.path = "/srv/swap", .device = machine.graph[lv].name});
  EXPECT_THAT(plan().volumes[0].busy, ElementsAre("/dev/mapper/vg-lv stands on it",
                                                  "mounted at /srv", "/srv/swap is swapped to"));
}

TEST_F(LockPlanTest, OtherGroupsAreLeftAlone) {
  const auto other = machine.luks(machine.disk("sdb"));
  machine.graph[other].luks->tokens[1].group = "other";
  EXPECT_EQ(plan().volumes.size(), 1U);
  EXPECT_EQ(plan_lock(machine.graph, "other", {}).volumes[0].path, "/dev/sdb");
}

// --- the record and the note ------------------------------------------------------------------

class LockRecordTest : public ImageTest {};

const LockRecord& a_record() {
  static const LockRecord record{.note = {.group = "default",
                                          .since = "2026-03-01T10:20:30.000Z",
                                          .by = "alice on pts/0",
                                          .reason = "a disk was opened"},
                                 .trigger = "tamper",
                                 .closes = false,
                                 .complete = true,
                                 .sealed_sha256 = "ab"};
  return record;
}

TEST_F(LockRecordTest, IsReadBackAndRefusesWithAReason) {
  EXPECT_FALSE(load_lock(folder, "default"));
  EXPECT_NO_THROW(refuse_locked(folder, "default", "approve"));
  save_lock(folder, a_record());
  const auto record = load_lock(folder, "default");
  ASSERT_TRUE(record);
  EXPECT_EQ(to_json(*record), to_json(a_record()));
  EXPECT_THAT(locked_groups(folder), ElementsAre("default"));
  EXPECT_EQ(std::filesystem::status(folder / "locks/default.json").permissions(),
            std::filesystem::perms(0600));
  try {
    refuse_locked(folder, "default", "approve");
    FAIL() << "it was let through";
  } catch (const LockedError& error) {
    EXPECT_THAT(error.what(), HasSubstr("approve: group default was locked on 2026-03-01 10:20 UTC "
                                        "by alice on pts/0: a disk was opened"));
  }
  remove_lock(folder, "default");
  EXPECT_FALSE(load_lock(folder, "default"));
  EXPECT_NO_THROW(remove_lock(folder, "default"));
}

TEST_F(LockRecordTest, OneThatCannotBeReadStaysLocked) {
  save_lock(folder, a_record());
  write_file(folder / "locks/default.json", "{}");
  EXPECT_THROW(refuse_locked(folder, "default", "approve"), Error);
  EXPECT_THROW(load_lock(folder, "../default"), Error);
}

TEST_F(LockRecordTest, TheNoteInAHeaderIsStrictAndBounded) {
  LockNote note = a_record().note;
  EXPECT_EQ(parse_lock_token(to_json(note)), note);
  note.reason = std::string(1000, 'x') + "\xff";
  note.by = "";
  const LockNote cut = parse_lock_token(to_json(note));
  EXPECT_EQ(cut.reason.size(), 400U);
  EXPECT_EQ(cut.by, "unknown");
  EXPECT_THROW(parse_lock_token("{}"), Error);
  std::string more = to_json(a_record().note);
  more.insert(1, R"("more":1,)");
  EXPECT_THROW(parse_lock_token(more), Error);
}

// --- by policy --------------------------------------------------------------------------------

class FailureCountTest : public ::testing::Test {
 protected:
  static constexpr seconds now_wall{1'000'000};
  static constexpr seconds now_boot{10'000};

  FailureCount counting(int failures = 3) const {
    return {"default",
            {"uuid-1"},
            {.failures = failures, .minutes = 10},
            {.wall = now_wall, .boot = now_boot, .boot_id = "this"}};
  }
  AuditRecord failed(seconds ago, const std::string& outcome = "wrong-secret",
                     const std::string& action = "unlock") {
    AuditRecord record;
    record.seq = ++seq;
    record.boot_id = "this";
    record.boot_ms = std::chrono::milliseconds(now_boot - ago).count();
    record.time = "1970-01-01T00:00:00.000Z";
    record.who.pid = 1000 + static_cast<std::int64_t>(seq);
    record.event = {.action = action,
                    .outcome = outcome,
                    .volume = "/dev/sda",
                    .luks_uuid = "uuid-1",
                    .detail = {{"protector", "recovery-key"}}};
    return record;
  }

  std::uint64_t seq = 0;
};

TEST_F(FailureCountTest, CountsWithinTheWindowWhateverTheWallClockSays) {
  FailureCount count = counting();
  count.take(failed(minutes(11)));
  count.take(failed(minutes(9)));
  count.take(failed(seconds(5), "wrong-pin"));
  EXPECT_FALSE(count.reason());
  count.take(failed(seconds(1)));
  EXPECT_EQ(count.reason(),
            "3 failed attempts within 10 minutes, the last on /dev/sda by recovery-key");
}

TEST_F(FailureCountTest, WhatNobodyTriedIsNoFailure) {
  FailureCount count = counting(1);
  for (const char* outcome :
       {"opened", "policy-mismatch", "unavailable", "no-key", "needs-pin", "locked", "revoked"})
    count.take(failed(seconds(1), outcome));
  AuditRecord other = failed(seconds(1));
  other.event.luks_uuid = "uuid-2";
  count.take(other);
  other.event.group = "other";
  count.take(other);
  EXPECT_EQ(count.count(), 0);
  other.event.group = "default";
  count.take(other);
  EXPECT_EQ(count.count(), 1);
}

TEST_F(FailureCountTest, BeginsAnewWithARecovery) {
  FailureCount count = counting(2);
  count.take(failed(seconds(9)));
  count.take(failed(seconds(8)));
  ASSERT_TRUE(count.reason());
  AuditRecord lifted = failed(seconds(7), "ok", "lock.lift");
  lifted.event.group = "default";
  count.take(lifted);
  EXPECT_EQ(count.count(), 0);
}

TEST_F(FailureCountTest, OneTryOfRecoverCountsOnce) {
  FailureCount count = counting(2);
  AuditRecord tried = failed(seconds(3), "wrong-secret", "recover");
  AuditRecord drill = failed(seconds(3), "wrong-secret", "drill");
  drill.who.pid = tried.who.pid;
  count.take(tried);
  count.take(drill);
  EXPECT_EQ(count.count(), 1);
  count.take(failed(seconds(2), "wrong-secret", "drill"));
  EXPECT_EQ(count.count(), 2);
}

TEST_F(FailureCountTest, OfAnEarlierBootTheWallClockCounts) {
  FailureCount count = counting(1);
  AuditRecord earlier = failed(seconds(0));
  earlier.boot_id = "before";
  count.take(earlier);
  EXPECT_EQ(count.count(), 0) << "of 1970, eleven days ago";
  earlier.time = "1970-01-12T13:40:00.000Z";
  count.take(earlier);
  EXPECT_EQ(count.count(), 1);
}

TEST(HeaderChanges, SayWhatBearsOnWhoOpensItAndOnNothingElse) {
  test::Machine machine;
  const LuksHeader was = *machine.graph[machine.luks(machine.disk("sda"))].luks;
  LuksHeader is = was;
  is.tokens.push_back({.id = 9, .type = "volseal-escrow"});
  EXPECT_THAT(header_changes(was, is), IsEmpty());
  is.keyslots.push_back({.id = 5, .type = "luks2", .fingerprint = "new"});
  EXPECT_THAT(header_changes(was, is), ElementsAre("keyslot 5 was added or replaced"));
  EXPECT_THAT(header_changes(is, was), ElementsAre("keyslot 5 was removed"));
  is = was;
  is.segments[0].cipher = "cipher_null-ecb";
  EXPECT_THAT(header_changes(was, is), ElementsAre(HasSubstr("segments changed")));
  is = was;
  is.keyslots[0].fingerprint = "another key";
  EXPECT_THAT(header_changes(was, is), ElementsAre("keyslot 0 was added or replaced"));
}

TEST(HeaderChanges, AreExplainedByWhatVolsealDidToThatVolumeSince) {
  AuditRecord record;
  record.boot_id = "this";
  record.boot_ms = 5000;
  record.event = {.action = "protector.add", .luks_uuid = "uuid-1", .detail = {}};
  EXPECT_TRUE(explains_change(record, "uuid-1", "this", seconds(5)));
  EXPECT_FALSE(explains_change(record, "uuid-2", "this", seconds(5)));
  EXPECT_FALSE(explains_change(record, "uuid-1", "other", seconds(5)));
  EXPECT_FALSE(explains_change(record, "uuid-1", "this", seconds(6)));
  record.event.action = "unlock";
  EXPECT_FALSE(explains_change(record, "uuid-1", "this", seconds(5))) << "that changes no header";
}

TEST(HeaderWatch, FindsWhatChangedSinceItsLastLookOnTheSameDisk) {
  test::Machine machine;
  const auto at = machine.luks(machine.disk("sda"));
  machine.graph[at].diskseq = 7;
  machine.luks(machine.disk("sdb"));
  HeaderWatch watch;
  EXPECT_THAT(watch.look(machine.graph), IsEmpty()) << "it was so before";
  EXPECT_THAT(watch.look(machine.graph), IsEmpty());

  machine.graph[at].luks->keyslots.push_back({.id = 5, .type = "luks2", .fingerprint = "new"});
  const auto found = watch.look(machine.graph);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].device, at);
  EXPECT_EQ(found[0].group, "default");
  EXPECT_EQ(found[0].luks_uuid, "uuid-sda");
  EXPECT_THAT(found[0].changes, ElementsAre("keyslot 5 was added or replaced"));
  EXPECT_THAT(watch.look(machine.graph), IsEmpty()) << "it is told once";

  // It does not answer for a while; then somebody has wiped it.
  const auto whole = machine.graph[at];
  machine.graph[at].luks.reset();
  machine.graph[at].content.kind = ContentKind::unreadable;
  EXPECT_THAT(watch.look(machine.graph), IsEmpty());
  machine.graph[at] = whole;
  EXPECT_THAT(watch.look(machine.graph), IsEmpty());
  machine.graph[at].luks.reset();
  machine.graph[at].content.kind = ContentKind::blank;
  ASSERT_EQ(watch.look(machine.graph).size(), 1U);

  // Another disk of that name, and one that is being converted, are none of it.
  machine.graph[at] = whole;
  EXPECT_THAT(watch.look(machine.graph), IsEmpty());
  machine.graph[at].diskseq = 8;
  machine.graph[at].luks->uuid = "another";
  EXPECT_THAT(watch.look(machine.graph), IsEmpty());
  machine.graph[at].luks->reencryption = "reencrypt";
  machine.graph[at].luks->segments.clear();
  EXPECT_THAT(watch.look(machine.graph), IsEmpty());
}

TEST(LockPolicy, IsReadAndRefusedWhereItMakesNoSense) {
  auto rules = parse_lock_rules(R"([group.a]
on_tamper = "revoke"
lock_after = { failures = 5, minutes = 10 }
)",
                                "test");
  EXPECT_EQ(rules["a"].on_tamper, OnTamper::revoke);
  ASSERT_TRUE(rules["a"].lock_after);
  EXPECT_EQ(rules["a"].lock_after->failures, 5);
  EXPECT_EQ(rules["default"].on_tamper, OnTamper::tell);
  EXPECT_FALSE(rules["default"].lock_after);
  for (const char* wrong : {"on_tamper = \"panic\"", "lock_after = { failures = 5 }",
                            "lock_after = { failures = 1, minutes = 10 }", "lock_after = 5",
                            "lock_after = { failures = 5, minutes = 10, seconds = 1 }"}) {
    EXPECT_THROW(parse_policy(fmt::format("[group.a]\n{}\n", wrong), "test"), Error) << wrong;
  }
}

}  // namespace
}  // namespace volseal
