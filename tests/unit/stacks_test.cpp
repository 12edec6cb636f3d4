// Stacks that no kernel of ours can have (ZFS, Opal, another machine's disks), and what is no
// device at all: graphs made by hand, after what the kernel and the tools print of real ones. The
// stacks that User-Mode Linux can have are built there: tests/uml/cases/coverage*.sh.
#include "core/base/error.h"
#include "core/coverage/coverage.h"
#include "core/coverage/explain.h"
#include "tests/support/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace volseal {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr std::uint64_t mebibyte = 1U << 20U;

struct Stack {
  const char* name;
  std::function<void(test::Machine&)> build;
  const char* volume;
  Verdict verdict;
  const char* reason;
};

void PrintTo(const Stack& stack, std::ostream* out) {
  *out << stack.name;
}

class StackTest : public ::testing::TestWithParam<Stack> {};

TEST_P(StackTest, IsJudged) {
  test::Machine machine;
  GetParam().build(machine);
  const VolumeVerdict found = machine.of(GetParam().volume);
  EXPECT_EQ(to_string(found.verdict), to_string(GetParam().verdict));
  const std::string reason = GetParam().reason;
  if (!reason.empty()) {
    EXPECT_THAT(found.reasons, Contains(HasSubstr(reason)));
  }
}

void zfs_pool(test::Machine& machine, DeviceIndex member) {
  machine.graph[member].content = {
      .kind = ContentKind::other, .type = "zfs_member", .label = "tank", .uuid = "1"};
}

void opal_disk(test::Machine& machine, const char* state) {
  const auto disk = machine.disk("nvme0n1");
  machine.graph[disk].opal = state;
  machine.holds(machine.partition(disk, "nvme0n1p1"), "ext4", "/srv");
}

DeviceIndex swap_on(test::Machine& machine, DeviceIndex at) {
  machine.holds(at, "swap");
  machine.graph[at].swap_active = true;
  return at;
}

const std::vector<Stack> stacks = {
    {"NbdIsUndecided",
     [](test::Machine& m) { m.holds(m.disk("nbd0", DeviceKind::network), "ext4", "/srv"); },
     "/dev/nbd0", Verdict::unknown, "other end"},
    {"LuksOverNbdIsOurs",
     [](test::Machine& m) {
       m.holds(m.crypt(m.luks(m.disk("nbd0", DeviceKind::network)), "x"), "ext4");
     },
     "/dev/nbd0", Verdict::covered, ""},
    {"IscsiIsUndecided",
     [](test::Machine& m) { m.graph[m.holds(m.disk("sda"), "ext4", "/srv")].bus = "iscsi"; },
     "/dev/sda", Verdict::unknown, "other end"},
    {"DrbdOverAPlainLegIsNot",
     [](test::Machine& m) {
       m.holds(m.made_of("drbd0", {m.disk("sda")}, DeviceKind::network), "ext4", "/srv");
     },
     "/dev/drbd0", Verdict::not_covered, "/dev/sda is not encrypted"},
    {"NfsIsUndecided",
     [](test::Machine& m) { m.graph.deviceless = {{"server:/home", "/home", "nfs4"}}; },
     "server:/home", Verdict::unknown, "other end"},
    {"TmpfsIsGoneWithThePower",
     [](test::Machine& m) { m.graph.deviceless = {{"tmpfs", "/tmp", "tmpfs"}}; }, "/tmp",
     Verdict::covered, ""},
    {"TmpfsIsSwappedOutInClear",
     [](test::Machine& m) {
       swap_on(m, m.disk("sdb"));
       m.graph.deviceless = {{"tmpfs", "/tmp", "tmpfs"}};
     },
     "/tmp", Verdict::not_covered, "/dev/sdb is not encrypted"},
    {"TmpfsIsSwappedOutEncrypted",
     [](test::Machine& m) {
       swap_on(m, m.crypt(m.luks(m.disk("sdb")), "swap"));
       m.graph.deviceless = {{"tmpfs", "/tmp", "tmpfs"}};
     },
     "/tmp", Verdict::covered, ""},
    {"ASwapFileIsAsGoodAsItsFileSystem",
     [](test::Machine& m) {
       m.holds(m.disk("sda"), "ext4", "/");
       m.graph.swap_files = {{"/swapfile", "sda", mebibyte}};
     },
     "/swapfile", Verdict::not_covered, "/dev/sda is not encrypted"},
    {"ASwapFileInAVaultIsCovered",
     [](test::Machine& m) {
       const auto vault = m.holds(m.crypt(m.luks(m.disk("sda")), "vault"), "ext4", "/");
       m.graph.swap_files = {{"/swapfile", m.graph[vault].name, mebibyte}};
     },
     "/swapfile", Verdict::covered, ""},
    {"ASwapFileOfUnknownPlaceIsUndecided",
     [](test::Machine& m) { m.graph.swap_files = {{"/swapfile", "", mebibyte}}; }, "/swapfile",
     Verdict::unknown, "where its file lies"},
    {"HibernationTargetsHoldTheMemory",
     [](test::Machine& m) {
       m.holds(m.disk("sda"), "swap");
       m.graph.resume = "sda";
     },
     "/dev/sda", Verdict::not_covered, "hibernation writes all of the memory"},
    {"ASuspendedSystemLiesInClear",
     [](test::Machine& m) {
       m.graph[m.disk("sda")].content = {.kind = ContentKind::hibernation, .type = "swsuspend"};
     },
     "/dev/sda", Verdict::not_covered, "its memory, keys included"},
    {"AnEncryptedHibernationTargetIsCovered",
     [](test::Machine& m) {
       const auto swap = swap_on(m, m.crypt(m.luks(m.disk("sda")), "swap"));
       m.graph.resume = m.graph[swap].name;
     },
     "/dev/sda", Verdict::covered, ""},
    {"OpalLocked", [](test::Machine& m) { opal_disk(m, "locked"); }, "/dev/nvme0n1p1",
     Verdict::covered_weak, "Opal"},
    {"OpalUnlocked", [](test::Machine& m) { opal_disk(m, "unlocked"); }, "/dev/nvme0n1p1",
     Verdict::covered_weak, "Opal"},
    {"OpalThatLocksNothing", [](test::Machine& m) { opal_disk(m, "off"); }, "/dev/nvme0n1p1",
     Verdict::not_covered, "is not encrypted"},
    {"OpalOfWhichNothingIsKnown", [](test::Machine& m) { opal_disk(m, "?"); }, "/dev/nvme0n1p1",
     Verdict::unknown, "is not known"},
    {"ZfsEncryptedDataset",
     [](test::Machine& m) {
       zfs_pool(m, m.disk("sda"));
       m.graph.datasets = {{"tank/home", "aes-256-gcm", "/home"}, {"tank", "off", "/tank"}};
     },
     "tank/home", Verdict::covered_weak, "names of datasets"},
    {"ZfsPlainDatasetOfTheSamePool",
     [](test::Machine& m) {
       zfs_pool(m, m.disk("sda"));
       m.graph.datasets = {{"tank/home", "aes-256-gcm", "/home"}, {"tank", "off", "/tank"}};
     },
     "tank", Verdict::not_covered, "/dev/sda is not encrypted"},
    {"ZfsOnLuks",
     [](test::Machine& m) {
       zfs_pool(m, m.crypt(m.luks(m.disk("sda")), "vault"));
       m.graph.datasets = {{"tank", "off", "/tank"}};
     },
     "tank", Verdict::covered, ""},
    {"ZfsWithoutItsPool", [](test::Machine& m) { m.graph.datasets = {{"tank", "off", "/tank"}}; },
     "tank", Verdict::unknown, "pool"},
    {"BootIsExempt",
     [](test::Machine& m) {
       m.policy = parse_policy(default_policy_text(), "default");
       m.holds(m.partition(m.disk("sda"), "sda1"), "ext4", "/boot");
     },
     "/dev/sda1", Verdict::exempt, "before anything can unlock"},
    {"TheEspIsExempt",
     [](test::Machine& m) {
       m.policy = parse_policy(default_policy_text(), "default");
       const auto esp = m.partition(m.disk("sda"), "sda1");
       m.graph[m.holds(esp, "vfat")].partition_type = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
     },
     "/dev/sda1", Verdict::exempt, "EFI system partition"},
    {"ReadOnlyMediaAreExempt",
     [](test::Machine& m) {
       m.policy = parse_policy(default_policy_text(), "default");
       m.holds(m.disk("sr0", DeviceKind::optical), "iso9660", "/media/cd");
     },
     "/dev/sr0", Verdict::exempt, "read-only media"},
    {"FscryptCoversDirectoriesOnly",
     [](test::Machine& m) { m.graph[m.holds(m.disk("sda"), "ext4", "/")].content.fscrypt = true; },
     "/dev/sda", Verdict::not_covered, "fscrypt"},
    {"BcacheWithAPlainCache",
     [](test::Machine& m) {
       const auto origin = m.crypt(m.luks(m.disk("sda")), "origin");
       m.holds(m.made_of("bcache0", {origin, m.disk("nvme0n1")}, DeviceKind::disk), "ext4", "/srv");
     },
     "/dev/bcache0", Verdict::not_covered, "/dev/nvme0n1 is not encrypted"},
    {"AnOriginWhoseSnapshotsStoreIsPlain",
     [](test::Machine& m) {
       const auto real = m.crypt(m.luks(m.disk("sda")), "real");
       m.mapped("snap", "snapshot", {real, m.disk("sdb")});
       m.holds(m.mapped("source", "snapshot-origin", {real}), "ext4", "/srv");
     },
     "/dev/mapper/source", Verdict::not_covered, "/dev/sdb is not encrypted"},
    {"ASuspendedVolume",
     [](test::Machine& m) {
       m.graph[m.holds(m.crypt(m.luks(m.disk("sda")), "x"), "ext4")].suspended = true;
     },
     "/dev/sda", Verdict::suspended, "neither be read nor written"},
    {"ASuspendedMappingFarBelow",
     [](test::Machine& m) {
       const auto below = m.mapped("below", "linear", {m.disk("sda")});
       m.graph[below].suspended = true;
       m.holds(m.crypt(m.luks(below), "x"), "ext4");
     },
     "/dev/mapper/below", Verdict::suspended, "neither be read nor written"},
    {"ASuspendedPlainMappingIsNotCovered",
     [](test::Machine& m) {
       m.graph[m.holds(m.mapped("x", "linear", {m.disk("sda")}), "ext4")].suspended = true;
     },
     "/dev/mapper/x", Verdict::not_covered, "is not encrypted"},
    {"ATailWithAFileSystem",
     [](test::Machine& m) {
       const auto disk = m.disk("sda");
       m.luks(m.partition(disk, "sda1"));
       m.graph[disk].gaps = {{.start = 500 * mebibyte, .size = 100 * mebibyte, .type = "ext4"}};
     },
     "/dev/sda@524288000", Verdict::not_covered, "is not encrypted"},
    {"ATailThatLooksRandom",
     [](test::Machine& m) {
       const auto disk = m.disk("sda");
       m.partition(disk, "sda1");
       m.graph[disk].gaps = {{.start = 500 * mebibyte, .size = 100 * mebibyte, .random = true}};
     },
     "/dev/sda@524288000", Verdict::unknown, "looks random"},
    {"ASampleBeliesAHeader",
     [](test::Machine& m) {
       m.graph[m.luks(m.disk("sda"))].sample = Sample{.places = 64, .random = 10, .clear = 54};
     },
     "/dev/sda", Verdict::not_covered, "whatever is said of it"},
    {"ASampleBeliesATable",
     [](test::Machine& m) {
       const auto open = m.holds(m.crypt(m.disk("sda"), "x"), "ext4");
       m.graph[open].sample = Sample{.places = 64, .empty = 60, .clear = 4};
     },
     "/dev/mapper/x", Verdict::not_covered, "4 of 4 places"},
    {"ASignatureBeliesAHeader",
     [](test::Machine& m) {
       m.graph[m.luks(m.disk("sda"))].sample =
           Sample{.places = 64, .random = 64, .signature = "xfs"};
     },
     "/dev/sda", Verdict::not_covered, "show xfs"},
    {"OldDataBelowIsAWeakness",
     [](test::Machine& m) {
       m.graph[m.luks(m.disk("sda"))].sample = Sample{.places = 64, .random = 62, .clear = 2};
     },
     "/dev/sda", Verdict::covered_weak, "never overwritten"},
    {"AnEmptySampleProvesNothing",
     [](test::Machine& m) {
       m.graph[m.luks(m.disk("sda"))].sample = Sample{.places = 64, .empty = 64};
     },
     "/dev/sda", Verdict::covered, ""},
};

INSTANTIATE_TEST_SUITE_P(TruthTable, StackTest, ::testing::ValuesIn(stacks),
                         [](const auto& stack) { return std::string(stack.param.name); });

class BytesTest : public ::testing::Test, public test::Machine {
 protected:
  ByteCount disk_bytes(const std::string& path) const {
    const Coverage all = coverage();
    const auto at = std::ranges::find(all.disks, path, &ByteShare::name);
    return at == all.disks.end() ? ByteCount{} : at->bytes;
  }
};

TEST_F(BytesTest, AnEncryptedPartitionBesideAPlainOne) {
  const At sda = disk("sda");
  const At one = partition(sda, "sda1");
  const At two = partition(sda, "sda2");
  graph[one].start = mebibyte;
  graph[one].size = 300 * mebibyte;
  graph[two].start = 301 * mebibyte;
  graph[two].size = 200 * mebibyte;
  luks(one);
  holds(two, "ext4", "/srv");
  const ByteCount bytes = disk_bytes("/dev/sda");
  EXPECT_EQ(bytes.encrypted, 300 * mebibyte);
  EXPECT_EQ(bytes.plaintext, 200 * mebibyte);
  EXPECT_EQ(bytes.unused, gibibyte - 500 * mebibyte);
  EXPECT_EQ(coverage().bytes, bytes);
  EXPECT_EQ(of("/dev/sda1").bytes.encrypted, 300 * mebibyte);
  EXPECT_EQ(of("/dev/sda2").bytes.plaintext, 200 * mebibyte);
}

TEST_F(BytesTest, AVolumeIsCountedByItsExtents) {
  const At vault = crypt(luks(disk("sda")), "vault");
  const At both = mapped("vg-both", "linear", {vault, disk("sdb")}, false);
  graph[both].size = 300 * mebibyte;
  graph[both].table[0].length = 100 * mebibyte / 512;
  graph[both].table[1].start = 100 * mebibyte / 512;
  graph[both].table[1].length = 200 * mebibyte / 512;
  graph[both].table[1].offsets = {50 * mebibyte / 512};
  holds(both, "ext4");
  const ByteCount bytes = of("/dev/mapper/vg-both").bytes;
  EXPECT_EQ(bytes.encrypted, 100 * mebibyte);
  EXPECT_EQ(bytes.plaintext, 200 * mebibyte);
  EXPECT_EQ(disk_bytes("/dev/sdb").plaintext, 200 * mebibyte);
  EXPECT_EQ(disk_bytes("/dev/sdb").unused, gibibyte - 200 * mebibyte);
  EXPECT_EQ(disk_bytes("/dev/sda").plaintext, 0U);
}

TEST_F(BytesTest, AMirrorCountsOnEachOfItsDisks) {
  const At one = crypt(luks(disk("sda")), "one");
  holds(made_of("md0", {one, disk("sdb")}, DeviceKind::md), "ext4", "/srv");
  EXPECT_EQ(of("/dev/md0").bytes.plaintext, gibibyte);
  EXPECT_EQ(disk_bytes("/dev/sdb").plaintext, gibibyte);
  EXPECT_EQ(disk_bytes("/dev/sda").plaintext, 0U);
}

TEST_F(BytesTest, WhatIsBeingEncryptedIsNeither) {
  const At volume = luks(disk("sda"));
  graph[volume].luks->reencryption = "encrypt";
  graph[volume].luks->encrypted_bytes = 250 * mebibyte;
  graph[volume].luks->data_bytes = 1000 * mebibyte;
  graph[volume].luks->segments.push_back({.type = "linear", .offset = 0, .size = 750 * mebibyte});
  EXPECT_EQ(disk_bytes("/dev/sda").converting, 750 * mebibyte);
  EXPECT_EQ(of("/dev/sda").bytes.converting, 750 * mebibyte);
  EXPECT_EQ(of("/dev/sda").bytes.all(), gibibyte);
}

TEST_F(BytesTest, TenantsHaveTheirShares) {
  policy = parse_policy(
      "[group.default]\n[group.a]\ntenant = \"A\"\n"
      "[[rule]]\nname = \"a\"\nmatch = { path = \"/dev/sdb\" }\ngroup = \"a\"\n",
      "test");
  holds(disk("sda"), "ext4");
  luks(disk("sdb"));
  const Coverage all = coverage();
  ASSERT_EQ(all.tenants.size(), 2U);
  EXPECT_EQ(all.tenants[0].name, "");
  EXPECT_EQ(all.tenants[0].bytes.plaintext, gibibyte);
  EXPECT_EQ(all.tenants[1].name, "A");
  EXPECT_EQ(all.tenants[1].bytes.encrypted, gibibyte);
}

// A graph from a file may double its paths at every level.
TEST_F(BytesTest, GraphsThatBranchAtEveryLevelEnd) {
  At below = disk("sda");
  for (int level = 0; level < 100; ++level)
    below = mapped("level" + std::to_string(level), "linear", {below, below}, false);
  for (Device& device : graph.devices) {
    for (Segment& segment : device.table) segment.length = device.size / 512;
  }
  holds(below, "ext4");
  const ByteCount bytes = of("/dev/mapper/level99").bytes;
  EXPECT_GT(bytes.plaintext + bytes.unknown, 0U);
  EXPECT_TRUE(explain(graph, policy, "2026-06-01", "/dev/mapper/level99").cut);
}

class ExplainTest : public ::testing::Test, public test::Machine {
 protected:
  Explanation explained(const std::string& name, const std::vector<ByteRange>& parts = {}) const {
    return explain(graph, policy, "2026-06-01", name, parts);
  }
};

TEST_F(ExplainTest, NamesTheExactStretchThatLeaks) {
  const At vault = crypt(luks(disk("sda")), "vault");
  const At sdb = disk("sdb");
  const At plain = partition(sdb, "sdb1");
  graph[plain].start = mebibyte;
  const At both = mapped("vg-both", "linear", {vault, plain}, false);
  graph[both].table[0].length = 100 * mebibyte / 512;
  graph[both].table[1] = {.start = 100 * mebibyte / 512,
                          .length = 200 * mebibyte / 512,
                          .target = "linear",
                          .devices = {"sdb1"},
                          .offsets = {50 * mebibyte / 512}};
  graph[both].size = 300 * mebibyte;
  holds(both, "ext4", "/srv");
  const Explanation found = explained("/srv");
  ASSERT_EQ(found.leaks.size(), 1U);
  EXPECT_EQ(found.leaks[0].path, "/dev/sdb");
  EXPECT_EQ(found.leaks[0].bytes.start, 51 * mebibyte);
  EXPECT_EQ(found.leaks[0].bytes.size, 200 * mebibyte);
  EXPECT_EQ(found.verdict.verdict, Verdict::not_covered);
  // A file that lies in the encrypted part alone.
  EXPECT_TRUE(explained("/srv", {{.start = mebibyte, .size = mebibyte}}).leaks.empty());
  const std::string text = to_text(found, {.columns = 100, .colour = false});
  EXPECT_THAT(text, HasSubstr("ENCRYPTED from here on"));
  EXPECT_THAT(text, HasSubstr("leaks on /dev/sdb: 200 MiB at byte 53477376"));
  EXPECT_THAT(to_json(found), HasSubstr("\"schema\": \"volseal-explain/1\""));
}

TEST_F(ExplainTest, AnOpenVolumeIsWalkedFromItsMapping) {
  const At volume = luks(partition(disk("sda"), "sda1"));
  holds(crypt(volume, "data"), "ext4", "/srv");
  const Explanation found = explained("/dev/sda1");
  EXPECT_EQ(found.top.path, "/dev/mapper/data");
  EXPECT_EQ(found.top.state, Step::State::encrypted);
  EXPECT_TRUE(found.leaks.empty());
  EXPECT_EQ(found.verdict.verdict, Verdict::covered);
}

TEST_F(ExplainTest, WhatIsNotThereIsAnError) {
  EXPECT_THROW(explained("/dev/none"), Error);
}

TEST_F(ExplainTest, CyclesEnd) {
  const At one = mapped("one", "linear", {disk("sda")});
  graph[one].table[0].devices = {graph[one].name};
  EXPECT_TRUE(explained("/dev/mapper/one").cut);
}

}  // namespace
}  // namespace volseal
