#include "core/watch/finding.h"
#include "core/watch/ledger.h"
#include "core/watch/quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <random>
#include <span>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A machine, put together disk by disk, with the verdict that coverage would give each.
class Machine {
 public:
  Machine& disk(const std::string& name, std::uint64_t diskseq, const std::string& holds,
                Verdict verdict) {
    seen_.graph.devices.push_back(
        {.name = name,
         .path = "/dev/" + name,
         .links = {"/dev/disk/by-path/pci-0-" + name},
         .kind = DeviceKind::disk,
         .diskseq = diskseq,
         .size = 64U << 20U,
         .bus = "scsi",
         .model = "scsi_debug",
         .serial = "serial-" + name,
         .content = {.kind = ContentKind::filesystem, .type = holds, .uuid = "uuid-" + holds}});
    return judged(holds, verdict);
  }
  // Of the disk that was added last.
  Machine& partition(const std::string& name, const std::string& holds, Verdict verdict) {
    const DeviceIndex disk = seen_.graph.devices.size() - 1;
    std::erase_if(seen_.coverage.volumes,
                  [&](const VolumeVerdict& volume) { return volume.device == disk; });
    seen_.graph.devices.push_back({.name = name,
                                   .path = "/dev/" + name,
                                   .kind = DeviceKind::partition,
                                   .start = 1U << 20U,
                                   .content = {.kind = ContentKind::filesystem, .type = holds},
                                   .below = {disk}});
    return judged(holds, verdict);
  }
  Device& device() { return seen_.graph.devices.back(); }
  VolumeVerdict& volume() { return seen_.coverage.volumes.back(); }
  Machine& mounted(const std::string& target) {
    device().mounts.push_back(target);
    volume().mounts.push_back(target);
    return *this;
  }
  operator Sighting() const { return seen_; }  // NOLINT(google-explicit-constructor)

 private:
  Machine& judged(const std::string& holds, Verdict verdict) {
    const Device& device = seen_.graph.devices.back();
    seen_.coverage.volumes.push_back({.path = device.path,
                                      .name = device.name,
                                      .device = seen_.graph.devices.size() - 1,
                                      .verdict = verdict,
                                      .content = holds,
                                      .size = device.size});
    return *this;
  }

  Sighting seen_;
};

DeviceEvent event(const std::string& action, const std::string& name, std::uint64_t seqnum,
                  std::uint64_t diskseq = 0) {
  return {.action = action, .name = name, .type = "disk", .seqnum = seqnum, .diskseq = diskseq};
}

std::vector<std::string> names(const std::vector<Finding>& findings) {
  std::vector<std::string> result;
  result.reserve(findings.size());
  for (const Finding& finding : findings) {
    result.push_back(std::string(to_string(finding.what)) + " " + finding.volume.name);
  }
  return result;
}

TEST(LedgerTest, TheStartTellsWhatIsNotCoveredAndNothingElse) {
  Ledger ledger;
  const auto findings = ledger.start(Machine()
                                         .disk("sda", 1, "crypto_LUKS", Verdict::covered)
                                         .disk("sdb", 2, "ext4", Verdict::not_covered)
                                         .disk("sdc", 3, "vfat", Verdict::exempt)
                                         .disk("sdd", 4, "", Verdict::unknown));
  EXPECT_THAT(names(findings), ElementsAre("present sdb", "present sdd"));
}

TEST(LedgerTest, ADiskThatComesIsOneFindingThatSaysWhereFrom) {
  Ledger ledger;
  ledger.start(Machine());
  const Machine with_disk = Machine().disk("sdb", 7, "ext4", Verdict::not_covered);
  const auto findings = ledger.take(with_disk, {.events = {event("add", "sdb", 100, 7)}});
  ASSERT_THAT(names(findings), ElementsAre("attached sdb"));
  EXPECT_EQ(findings[0].seqnum, 100U);
  EXPECT_EQ(findings[0].noticed_by, "event");
  EXPECT_EQ(findings[0].diskseq, 7U);
  EXPECT_EQ(findings[0].action, "notify");
  ASSERT_THAT(findings[0].from, SizeIs(1));
  EXPECT_EQ(findings[0].from[0].bus, "scsi");
  EXPECT_EQ(findings[0].from[0].port, "pci-0-sdb");
  EXPECT_EQ(findings[0].from[0].serial, "serial-sdb");

  // udev says change once more for the same content.
  EXPECT_THAT(ledger.take(with_disk, {.events = {event("change", "sdb", 101, 7)}}), IsEmpty());
}

TEST(LedgerTest, WhereADiskHungIsStillKnownWhenItIsGone) {
  Sighting with_disk = Machine().disk("sdb", 7, "ext4", Verdict::not_covered);
  with_disk.graph.devices[0].links.clear();
  with_disk.ports["sdb"] = "/devices/pseudo_0/adapter0";
  Ledger ledger;
  ledger.start(with_disk);
  EXPECT_EQ(ledger.take(Machine(), {}).at(0).from.at(0).port, "/devices/pseudo_0/adapter0");
}

TEST(LedgerTest, APartitionSaysWhichDiskItIsOn) {
  Ledger ledger;
  ledger.start(Machine());
  const auto findings = ledger.take(Machine()
                                        .disk("sdb", 7, "", Verdict::unknown)
                                        .partition("sdb1", "ext4", Verdict::not_covered),
                                    {.events = {event("add", "sdb", 100, 7)}});
  ASSERT_THAT(names(findings), ElementsAre("attached sdb1"));
  EXPECT_EQ(findings[0].seqnum, 100U);
  EXPECT_EQ(findings[0].diskseq, 7U);
  EXPECT_EQ(findings[0].from.at(0).name, "sdb");
}

TEST(LedgerTest, AnEncryptedDiskThatComesNeedsNoAttention) {
  Ledger ledger;
  ledger.start(Machine());
  const auto findings =
      ledger.take(Machine().disk("sdb", 7, "crypto_LUKS", Verdict::covered_weak), {});
  ASSERT_THAT(names(findings), ElementsAre("attached sdb"));
  EXPECT_FALSE(needs_attention(findings[0]));
}

TEST(LedgerTest, WhatNoEventAnnouncedIsFoundByLooking) {
  Ledger ledger;
  ledger.start(Machine().disk("sda", 1, "ext4", Verdict::not_covered));
  const auto findings = ledger.take(Machine().disk("sdb", 2, "ext4", Verdict::not_covered), {});
  ASSERT_THAT(names(findings), ElementsAre("removed sda", "attached sdb"));
  EXPECT_EQ(findings[0].noticed_by, "rescan");
  EXPECT_EQ(findings[1].noticed_by, "rescan");
}

TEST(LedgerTest, AnotherDiskOfTheSameNameIsAnotherDisk) {
  Ledger ledger;
  ledger.start(Machine().disk("sda", 1, "ext4", Verdict::not_covered));
  EXPECT_THAT(names(ledger.take(Machine().disk("sda", 2, "ext4", Verdict::not_covered), {})),
              ElementsAre("removed sda", "attached sda"));
}

TEST(LedgerTest, ADiskThatLosesItsSerialNumberWhileItGoesIsTheSame) {
  Ledger ledger;
  ledger.start(Machine().disk("sda", 1, "ext4", Verdict::not_covered));
  Machine going = Machine().disk("sda", 1, "ext4", Verdict::not_covered);
  going.device().serial.clear();
  EXPECT_THAT(ledger.take(going, {}), IsEmpty());
  EXPECT_THAT(names(ledger.take(Machine(), {})), ElementsAre("removed sda"));
  // A kernel that numbers no disks tells them by it.
  Ledger old;
  old.start(Machine().disk("sda", 0, "ext4", Verdict::not_covered));
  Machine other = Machine().disk("sda", 0, "ext4", Verdict::not_covered);
  other.device().serial = "another";
  EXPECT_THAT(names(old.take(other, {})), ElementsAre("removed sda", "attached sda"));
}

TEST(LedgerTest, MkfsOnABlankDiskIsAFinding) {
  Ledger ledger;
  ledger.start(Machine().disk("sdb", 2, "blank", Verdict::exempt));
  const auto findings = ledger.take(Machine().disk("sdb", 2, "ext4", Verdict::not_covered), {});
  ASSERT_THAT(names(findings), ElementsAre("changed sdb"));
  EXPECT_THAT(findings[0].changes, ElementsAre(HasSubstr("was exempt"), "held blank, holds ext4"));
}

TEST(LedgerTest, MkfsOverTheSameKindIsAFinding) {
  Ledger ledger;
  ledger.start(Machine().disk("sdb", 2, "ext4", Verdict::not_covered));
  Machine again = Machine().disk("sdb", 2, "ext4", Verdict::not_covered);
  again.device().content.uuid = "another";
  EXPECT_THAT(ledger.take(again, {}).at(0).changes, ElementsAre("was formatted anew"));
}

TEST(LedgerTest, AMountOfWhatIsNotCoveredIsAFindingAndItsEndIsNone) {
  Ledger ledger;
  const Machine idle = Machine().disk("sdb", 2, "ext4", Verdict::not_covered);
  const Machine used = Machine().disk("sdb", 2, "ext4", Verdict::not_covered).mounted("/srv");
  ledger.start(idle);
  const auto findings = ledger.take(used, {.mounts = true});
  ASSERT_THAT(names(findings), ElementsAre("changed sdb"));
  EXPECT_EQ(findings[0].noticed_by, "mounts");
  EXPECT_THAT(findings[0].changes, ElementsAre("is mounted at /srv"));
  EXPECT_THAT(ledger.take(idle, {.mounts = true}), IsEmpty());
}

TEST(LedgerTest, SwappingToWhatIsNotCoveredIsAFinding) {
  Ledger ledger;
  ledger.start(Machine().disk("sdb", 2, "swap", Verdict::not_covered));
  Machine used = Machine().disk("sdb", 2, "swap", Verdict::not_covered);
  used.device().swap_active = true;
  const auto findings = ledger.take(used, {.swaps = true});
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].noticed_by, "swaps");
  EXPECT_TRUE(findings[0].swap_active);
}

TEST(LedgerTest, OpeningAndMountingAnEncryptedVolumeIsNoFinding) {
  Ledger ledger;
  Machine locked = Machine().disk("sdb", 2, "crypto_LUKS", Verdict::covered);
  locked.volume().luks_uuid = "u";
  locked.volume().content = "luks2 (locked)";
  Machine open = Machine().disk("sdb", 2, "crypto_LUKS", Verdict::covered).mounted("/srv");
  open.volume().luks_uuid = "u";
  open.volume().content = "ext4";
  ledger.start(locked);
  EXPECT_THAT(ledger.take(open, {}), IsEmpty());
  EXPECT_THAT(ledger.take(locked, {}), IsEmpty());
}

TEST(LedgerTest, AnotherHeaderOrAnotherProtectorIsAFinding) {
  Ledger ledger;
  Machine before = Machine().disk("sdb", 2, "crypto_LUKS", Verdict::covered);
  before.volume().luks_uuid = "u";
  before.volume().protectors = {"tpm", "recovery-key"};
  ledger.start(before);
  Machine more = before;
  more.volume().protectors.emplace_back("passphrase");
  EXPECT_THAT(ledger.take(more, {}).at(0).changes, ElementsAre(HasSubstr("passphrase")));
  Machine other = more;
  other.volume().luks_uuid = "v";
  EXPECT_THAT(ledger.take(other, {}).at(0).changes, ElementsAre("was formatted anew"));
}

TEST(LedgerTest, ADiskThatCameAndWentIsAFinding) {
  Ledger ledger;
  ledger.start(Machine());
  const auto findings = ledger.take(
      Machine(), {.events = {event("add", "sdb", 100, 7), event("remove", "sdb", 101, 7)}});
  ASSERT_THAT(names(findings), ElementsAre("vanished sdb"));
  EXPECT_EQ(findings[0].seqnum, 100U);
  EXPECT_TRUE(needs_attention(findings[0]));
}

TEST(LedgerTest, ADiskThatCameAndWentAcrossTwoLooksIsAFinding) {
  Ledger ledger;
  ledger.start(Machine());
  EXPECT_THAT(ledger.take(Machine(), {.events = {event("add", "sdb", 100, 7)}}), IsEmpty());
  EXPECT_THAT(names(ledger.take(Machine(), {.events = {event("remove", "sdb", 101, 7)}})),
              ElementsAre("vanished sdb"));
}

TEST(LedgerTest, ADiskThatWasSeenDoesNotVanish) {
  Ledger ledger;
  ledger.start(Machine());
  const Machine with_disk = Machine().disk("sdb", 7, "ext4", Verdict::not_covered);
  ledger.take(with_disk, {.events = {event("add", "sdb", 100, 7)}});
  EXPECT_THAT(names(ledger.take(Machine(), {.events = {event("remove", "sdb", 101, 7)}})),
              ElementsAre("removed sdb"));
}

TEST(LedgerTest, ASecondDiskOfTheSameNameVanishesByItself) {
  Ledger ledger;
  ledger.start(Machine());
  const auto findings =
      ledger.take(Machine().disk("sdb", 8, "ext4", Verdict::not_covered),
                  {.events = {event("add", "sdb", 100, 7), event("remove", "sdb", 101, 7),
                              event("add", "sdb", 102, 8)}});
  ASSERT_THAT(names(findings), ElementsAre("vanished sdb", "attached sdb"));
  EXPECT_EQ(findings[0].diskseq, 7U);
  EXPECT_EQ(findings[1].diskseq, 8U);
}

TEST(LedgerTest, MappingsThatComeAndGoAreNoCarriers) {
  Ledger ledger;
  ledger.start(Machine());
  EXPECT_THAT(ledger.take(Machine(),
                          {.events = {event("add", "dm-0", 1, 3), event("remove", "dm-0", 2, 3)}}),
              IsEmpty());
}

TEST(LedgerTest, BothWordsOfTheKernelAndOfUdevdAreOneFinding) {
  Ledger ledger;
  ledger.start(Machine());
  DeviceEvent settled = event("add", "sdb", 100, 7);
  settled.from_udevd = true;
  settled.port = "pci-0000:00:14.0-usb-0:1";
  const auto findings = ledger.take(
      Machine(),
      {.events = {event("add", "sdb", 100, 7), event("remove", "sdb", 101, 7), settled}});
  ASSERT_THAT(names(findings), ElementsAre("vanished sdb"));
  EXPECT_EQ(findings[0].from.at(0).port, "pci-0000:00:14.0-usb-0:1");
}

TEST(LedgerTest, AStormOfChangesTakesNoMemory) {
  Burst burst;
  for (std::uint64_t i = 1; i <= 100'000; ++i) burst.add(event("change", "sdb", i, 7));
  burst.add(event("change", "sdb", 100'001, 8));
  EXPECT_THAT(burst.events, SizeIs(2));
}

TEST(LedgerTest, ABurstKeepsNoMoreThanItCanAndSaysSo) {
  Burst burst;
  for (std::uint64_t i = 1; i <= 100'000; ++i) burst.add(event("add", "sdb", i, i));
  EXPECT_THAT(burst.events, SizeIs(Burst::most));
  EXPECT_TRUE(burst.overflowed);
}

// Bytes of this process that are in memory.
std::size_t resident() {
  std::size_t size = 0;
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> size >> pages;
  return pages * 4096;
}

TEST(LedgerTest, AHundredThousandEventsLeaveNothingBehind) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "ASan keeps what was freed";
#endif
  Ledger ledger;
  Quota quota;
  SequenceGaps gaps;
  ledger.start(Machine());
  const auto storm = [&](std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t i = first; i < last;) {
      Burst burst;
      for (int disk = 0; disk < 50; ++disk, i += 3) {
        const std::string name = "sd" + std::to_string(disk);
        for (std::uint64_t n = 0; n < 3; ++n) gaps.saw(i + n, static_cast<std::int64_t>(i));
        burst.add(event("add", name, i, i));
        burst.add(event("change", name, i + 1, i));
        burst.add(event("remove", name, i + 2, i));
      }
      const auto now = static_cast<std::int64_t>(i);
      EXPECT_THAT(ledger.take(Machine(), burst), SizeIs(50));
      quota.admit({{.what = Happening::changed}}, now);
      EXPECT_EQ(gaps.overdue(now, 5'000).count, 0U);
    }
  };
  storm(1, 10'000);
  const std::size_t before = resident();
  storm(10'000, 110'000);
  // The allocator's own moods; a leak of ten bytes an event would be more.
  EXPECT_LT(resident(), before + (1U << 20U));
}

TEST(LedgerTest, FindingsAreToldOnceHoweverManyEventsThereAre) {
  Ledger ledger;
  ledger.start(Machine());
  Machine machine;
  Burst burst;
  std::vector<std::string> expected;
  for (std::uint64_t i = 1; i <= 200; ++i) {
    const std::string name = "sd" + std::to_string(i);
    machine.disk(name, i, "ext4", Verdict::not_covered);
    burst.events.push_back(event("add", name, 2 * i, i));
    burst.events.push_back(event("change", name, 2 * i + 1, i));
    expected.push_back("attached " + name);
  }
  EXPECT_EQ(names(ledger.take(machine, burst)), expected);
  EXPECT_THAT(ledger.take(machine, burst), IsEmpty());
}

TEST(LedgerTest, ThePolicyDecidesWhatNeedsAttention) {
  const Policy policy = parse_policy(default_policy_text(), "built-in");
  Machine machine = Machine().disk("sda", 1, "ext4", Verdict::unknown);
  Machine luks = machine;
  luks.disk("sdb", 2, "crypto_LUKS", Verdict::unknown);
  luks.device().content.kind = ContentKind::luks2;
  luks.device().luks =
      LuksHeader{.uuid = "6c8f7a52-1d3e-4b57-9f0a-2e4c6d8b0a13",
                 .key_bytes = 64,
                 .segments = {{.type = "crypt", .offset = 16U << 20U, .cipher = "aes-xts-plain64"}},
                 .keyslots = {{.id = 0, .type = "luks2", .pbkdf = "argon2id"}}};
  const auto judged = [&](Sighting seen) {
    seen.coverage = judge(seen.graph, policy, "2024-05-01");
    return seen;
  };
  Ledger ledger;
  EXPECT_THAT(names(ledger.start(judged(machine))), ElementsAre("present sda"));
  const auto findings = ledger.take(judged(luks), {.events = {event("add", "sdb", 5, 2)}});
  ASSERT_THAT(names(findings), ElementsAre("attached sdb"));
  EXPECT_EQ(findings[0].volume.verdict, Verdict::covered_weak);
  EXPECT_FALSE(needs_attention(findings[0]));
}

TEST(FindingTest, TextFromDevicesIsEscaped) {
  Machine machine = Machine().disk("sdb", 7, "ext4", Verdict::not_covered);
  machine.device().content.label = "\x1b[2J\nvolseal: all is well";
  machine.device().serial = "\xff\xfe";
  machine.mounted("/mnt/\x07");
  Ledger ledger;
  std::vector<Finding> findings = ledger.start(machine);
  ASSERT_THAT(findings, SizeIs(1));
  const std::string text = to_text(findings[0]);
  EXPECT_TRUE(std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; })) << text;
  EXPECT_THAT(text, HasSubstr("/dev/sdb"));
  const std::string line = to_json_line(findings[0]);
  EXPECT_TRUE(std::ranges::all_of(line, [](char c) { return c >= 0x20 && c < 0x7f; })) << line;
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["schema"], "volseal-finding/1");
  EXPECT_EQ(json["what"], "present");
  EXPECT_EQ(json["label"], "\x1b[2J\nvolseal: all is well");
  EXPECT_EQ(json["from"][0]["serial"], "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(FindingTest, BlindnessSaysHowLongAndWhy) {
  Finding blind{.what = Happening::blind, .since_ms = 1000, .boot_ms = 3500};
  blind.changes = {"the receive buffer overran"};
  EXPECT_EQ(to_text(blind),
            "blind for 2500 ms: the receive buffer overran; everything was looked at again");
  EXPECT_EQ(nlohmann::json::parse(to_json_line(blind))["since_ms"], 1000);
  EXPECT_TRUE(needs_attention(blind));
}

std::vector<Finding> changes_of(const std::string& name, std::uint64_t count) {
  std::vector<Finding> findings(count, Finding{.what = Happening::changed});
  for (Finding& finding : findings) finding.volume.name = name;
  return findings;
}

TEST(QuotaTest, WhatChangesAllTheTimeIsCountedAndTheOthersAreTold) {
  Quota quota;
  EXPECT_THAT(quota.admit(changes_of("sda", Quota::most + 57), 1'000), SizeIs(Quota::most));
  EXPECT_THAT(names(quota.admit(changes_of("sdb", 1), 2'000)), ElementsAre("changed sdb"));
  EXPECT_EQ(quota.due(), 1'000 + Quota::minute_ms);
  EXPECT_THAT(quota.admit({}, quota.due() - 1), IsEmpty());
  const auto summary = quota.admit({}, quota.due());
  ASSERT_THAT(names(summary), ElementsAre("repeated sda"));
  EXPECT_EQ(summary[0].since_ms, 1'000);
  EXPECT_THAT(summary[0].changes,
              ElementsAre("57 more findings of it were not told one by one: 57 changed"));
  EXPECT_EQ(quota.due(), INT64_MAX);
  EXPECT_THAT(names(quota.admit(changes_of("sda", 1), 62'000)), ElementsAre("changed sda"));
}

TEST(QuotaTest, BlindnessIsAlwaysTold) {
  Quota quota;
  EXPECT_THAT(quota.admit(std::vector<Finding>(1'000, {.what = Happening::blind}), 1),
              SizeIs(1'000));
}

TEST(SequenceGapsTest, EventsInAnotherOrderAreNoGap) {
  std::vector<std::uint64_t> numbers(500);
  std::iota(numbers.begin(), numbers.end(), 1000);  // NOLINT(modernize-use-ranges): g++ 12 has none
  std::mt19937 random(7);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same order each time
  std::ranges::shuffle(std::span(numbers).subspan(1), random);
  SequenceGaps gaps;
  for (const std::uint64_t number : numbers) gaps.saw(number, 10);
  EXPECT_TRUE(gaps.empty());
  EXPECT_EQ(gaps.overdue(100'000, 5000).count, 0U);
}

TEST(SequenceGapsTest, WhatDoesNotComeIsMissingOnce) {
  SequenceGaps gaps;
  gaps.saw(10, 1000);
  gaps.saw(15, 2000);
  gaps.saw(12, 2500);
  EXPECT_EQ(gaps.overdue(6999, 5000).count, 0U);
  const auto missing = gaps.overdue(7000, 5000);
  EXPECT_EQ(missing.count, 3U);
  EXPECT_EQ(missing.since_ms, 1000);
  EXPECT_EQ(gaps.overdue(100'000, 5000).count, 0U);
  gaps.saw(11, 100'000);  // late, and told already
  EXPECT_TRUE(gaps.empty());
}

TEST(SequenceGapsTest, ManyGapsAreCountedInBoundedMemory) {
  SequenceGaps gaps;
  for (std::uint64_t number = 1; number < 100'000; number += 2) gaps.saw(number, 1);
  EXPECT_EQ(gaps.overdue(10, 5).count, 49'999U);
}

}  // namespace
}  // namespace volseal
