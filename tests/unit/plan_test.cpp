#include "core/plan/plan.h"

#include "core/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

namespace volseal {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::uint64_t mib = 1ULL << 20U;
constexpr std::uint64_t gib = 1ULL << 30U;

const Path data = VOLSEAL_TEST_DATA;

DeviceGraph saved_graph(const std::string& name) {
  return graph_from_json(read_file(data / (name + ".json"), 1U << 24U));
}

Policy default_policy() {
  return parse_policy(default_policy_text(), "built-in");
}

// tests/data/NAME.json planned by the default policy is tests/data/NAME.plan. To accept a change:
// VOLSEAL_ACCEPT=1 build/dev/tests/unit/unit_plan, and read the difference.
class GoldenPlanTest : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenPlanTest, ReadsAsItShould) {
  const bool unmount = GetParam().ends_with("-unmount");
  const std::string graph = unmount ? GetParam().substr(0, GetParam().rfind('-')) : GetParam();
  const Plan plan =
      make_plan(saved_graph(graph), default_policy(), {.today = "2030-05-01", .unmount = unmount});
  const std::string text = to_text(plan, 80);
  const Path golden = data / (GetParam() + ".plan");
  if (std::getenv("VOLSEAL_ACCEPT") != nullptr) write_file(golden, text, 0644);
  EXPECT_EQ(text, read_file(golden));
}

INSTANTIATE_TEST_SUITE_P(Plans, GoldenPlanTest,
                         ::testing::Values("demo", "demo-unmount", "done", "mixed", "cut-off",
                                           "stores-unmount"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase(name, '-');
                           return name;
                         });

// One disk, /dev/sda, of 1 GiB with 4096-byte blocks of ext4 on it, and nothing else.
class PlanTest : public ::testing::Test {
 protected:
  PlanTest() {
    graph.host = "test";
    Device& disk = add("sda", DeviceKind::disk, {});
    disk.diskseq = 7;
    disk.content = {.kind = ContentKind::filesystem, .type = "ext4", .uuid = "u1"};
    disk.content.block_size = 4096;
  }

  Device& add(const std::string& name, DeviceKind kind, std::vector<DeviceIndex> below) {
    Device device{.name = name, .path = "/dev/" + name, .kind = kind, .size = gib};
    device.below = std::move(below);
    graph.devices.push_back(device);
    return graph.devices.back();
  }
  Device& disk() { return graph[0]; }

  void make_blank(DeviceIndex at = 0) { graph[at].content = {.kind = ContentKind::blank}; }
  void make_swap() { disk().content = {.kind = ContentKind::swap, .type = "swap", .uuid = "u1"}; }
  LuksHeader& make_luks() {
    disk().content = {.kind = ContentKind::luks2, .type = "crypto_LUKS", .uuid = "u1"};
    disk().luks = LuksHeader{.uuid = "u1", .key_bytes = 64};
    disk().luks->segments = {
        {.type = "crypt", .offset = 16 * mib, .cipher = "aes-xts-plain64", .sector_size = 4096}};
    disk().luks->keyslots = {{.id = 0, .type = "luks2", .pbkdf = "pbkdf2", .cost = 1000}};
    return *disk().luks;
  }
  LuksHeader& make_ours() {
    LuksHeader& header = make_luks();
    header.keyslots.push_back({.id = 1, .type = "luks2", .pbkdf = "pbkdf2", .cost = 1000});
    header.tokens = {{.id = 0, .type = "systemd-recovery", .keyslots = {0}},
                     {.id = 1, .type = "volseal-tpm2", .keyslots = {1}, .group = "default"}};
    return header;
  }

  Plan whole(const PlanOptions& more = {}) {
    PlanOptions options = more;
    if (options.today.empty()) options.today = "2030-05-01";
    return make_plan(graph, parse_policy(policy, "test.toml"), options);
  }
  VolumePlan plan(const PlanOptions& options = {}) { return whole(options).volumes.at(0); }
  std::vector<std::string> obstacles(const PlanOptions& options = {}) {
    const VolumePlan volume = plan(options);
    EXPECT_EQ(volume.task == Task::refuse, !volume.obstacles.empty());
    std::vector<std::string> texts;
    for (const Obstacle& obstacle : volume.obstacles) {
      EXPECT_FALSE(obstacle.advice.empty()) << obstacle.what;
      texts.push_back(obstacle.what);
    }
    return texts;
  }

  DeviceGraph graph;
  std::string policy;
};

TEST_F(PlanTest, ExtIsEncryptedInPlace) {
  for (const char* type : {"ext2", "ext3", "ext4"}) {
    disk().content.type = type;
    const VolumePlan volume = plan();
    EXPECT_EQ(volume.task, Task::encrypt_in_place);
    EXPECT_THAT(volume.obstacles, IsEmpty());
    EXPECT_EQ(volume.cipher, "aes-xts-plain64");
    EXPECT_EQ(volume.key_bits, 512);
    EXPECT_EQ(volume.sector_size, 4096U);
    EXPECT_EQ(volume.bytes, 2 * gib);
    EXPECT_EQ(volume.estimate.count(), 11);  // 2 GiB at 200 MB/s
    EXPECT_THAT(volume.recovery, ElementsAre("recovery-key"));
  }
}

TEST_F(PlanTest, NothingThatHoldsDataIsEverFormatted) {
  for (const ContentKind kind :
       {ContentKind::filesystem, ContentKind::hibernation, ContentKind::lvm_member,
        ContentKind::md_member, ContentKind::bcache_member, ContentKind::partition_table,
        ContentKind::other, ContentKind::unknown, ContentKind::unreadable}) {
    disk().content = {.kind = kind, .type = "xfs"};
    const VolumePlan volume = plan();
    EXPECT_EQ(volume.task, Task::refuse) << to_string(kind);
    EXPECT_THAT(volume.steps, IsEmpty());
    EXPECT_EQ(volume.bytes, 0U);
  }
  // A signature of ext4 that something contradicts is not ext4.
  disk().content = {.kind = ContentKind::unknown, .type = "ext4", .detail = "two signatures"};
  EXPECT_THAT(obstacles(), ElementsAre("it cannot be said what it holds: two signatures"));
}

TEST_F(PlanTest, BlankIsFormattedAsTheRuleSays) {
  make_blank();
  EXPECT_EQ(plan().task, Task::format);
  EXPECT_EQ(plan().filesystem, "ext4");
  EXPECT_EQ(plan().mapping, "sda-crypt");
  policy = "[[rule]]\nname = \"data\"\nmount = \"/srv/big data\"\n";
  EXPECT_EQ(plan().mount, "/srv/big data");
  EXPECT_EQ(plan().mapping, "srv-big-data");
  policy = "[[rule]]\nname = \"data\"\nfilesystem = \"none\"\nmapping = \"raw\"\n";
  EXPECT_EQ(plan().filesystem, "none");
  EXPECT_EQ(plan().mapping, "raw");
  EXPECT_THAT(plan().steps, Not(Contains(HasSubstr("file system"))));
}

TEST_F(PlanTest, ARuleMountsOneVolumeAndTakesNobodysPlace) {
  make_blank();
  add("sdb", DeviceKind::disk, {});
  make_blank(1);
  policy = "[[rule]]\nname = \"data\"\nmount = \"/srv\"\n";
  const Plan both = whole();
  EXPECT_EQ(both.volumes[0].task, Task::format);
  EXPECT_EQ(both.volumes[1].obstacles.at(0).what, "rule 'data' wants two volumes at /srv");
  // Nor where fstab has another volume.
  graph.fstab = {{.source = "UUID=other", .target = "/srv", .type = "xfs"}};
  EXPECT_THAT(obstacles(), ElementsAre("fstab mounts UUID=other at /srv, where the rule wants this "
                                       "one"));
}

TEST_F(PlanTest, AMountedVolumeIsReleasedOnlyOnRequest) {
  disk().mounts = {"/srv/data"};
  EXPECT_THAT(obstacles(), ElementsAre("it is mounted at /srv/data"));
  EXPECT_TRUE(plan().obstacles[0].by_unmount);
  EXPECT_THAT(plan().obstacles[0].advice, HasSubstr("umount /srv/data"));
  const VolumePlan released = plan({.unmount = true});
  EXPECT_EQ(released.task, Task::encrypt_in_place);
  EXPECT_THAT(released.mounts, ElementsAre("/srv/data"));
  EXPECT_THAT(released.steps, Contains("unmount /srv/data"));
  EXPECT_EQ(released.mapping, "srv-data");
}

TEST_F(PlanTest, WhatTheRunningSystemNeedsIsNeverUnmounted) {
  for (const char* mount : {"/", "/usr", "/boot", "/var", "/var/lib", "/var/lib/volseal", "/etc"}) {
    disk().mounts = {mount};
    EXPECT_THAT(obstacles({.unmount = true}),
                ElementsAre(HasSubstr("the running system needs it there")))
        << mount;
    EXPECT_FALSE(plan({.unmount = true}).obstacles[0].by_unmount);
  }
  // "/varnish" is not in "/var", and more can be named.
  disk().mounts = {"/varnish"};
  EXPECT_THAT(obstacles({.unmount = true}), IsEmpty());
  EXPECT_THAT(obstacles({.unmount = true, .needed = {"/varnish/state"}}), Not(IsEmpty()));
}

TEST_F(PlanTest, AMountInsideAnotherIsNotTornAway) {
  disk().mounts = {"/srv"};
  add("sdb", DeviceKind::disk, {}).mounts = {"/srv/inner"};
  EXPECT_THAT(obstacles({.unmount = true}),
              ElementsAre("/dev/sdb is mounted inside it, at /srv/inner"));
}

TEST_F(PlanTest, SwapBecomesEncryptedSwap) {
  make_swap();
  EXPECT_EQ(plan().task, Task::encrypt_swap);
  EXPECT_EQ(plan().mapping, "swap");
  disk().swap_active = true;
  EXPECT_THAT(obstacles(), ElementsAre("it is active swap"));
  EXPECT_TRUE(plan({.unmount = true}).swap_active);
  EXPECT_THAT(plan({.unmount = true}).steps, Contains("turn this swap off"));
}

TEST_F(PlanTest, AnEnrolledVolumeNeedsNothing) {
  make_ours();
  const VolumePlan volume = plan();
  EXPECT_EQ(volume.task, Task::nothing);
  EXPECT_EQ(volume.why, "encrypted, with the protectors that the policy asks for");
  EXPECT_EQ(volume.luks_uuid, "u1");
  EXPECT_FALSE(whole().has_work());
  EXPECT_FALSE(whole().has_obstacles());
}

TEST_F(PlanTest, AVolumeOfOthersGetsTheProtectorsThatItLacks) {
  make_luks();
  EXPECT_EQ(plan().task, Task::adopt);
  EXPECT_EQ(plan().why, "encrypted by another program, without the policy's TPM and recovery key");
  policy = "[group.default.tpm]\nenabled = false\n";
  EXPECT_EQ(plan().why, "encrypted by another program, without the policy's recovery key");
  for (const std::string& step : plan().steps) EXPECT_THAT(step, Not(HasSubstr("TPM")));
}

TEST_F(PlanTest, Luks1IsConvertedOnlyWhereItIsClosed) {
  make_luks().version = 1;
  EXPECT_EQ(plan().task, Task::convert);
  Device open;
  open.name = "dm-7";
  open.path = "/dev/mapper/old";
  open.dm_name = "old";
  open.kind = DeviceKind::mapped;
  open.table = {{.length = 1, .target = "crypt", .cipher = "aes-xts-plain64", .key_bytes = 64}};
  open.below = {0};
  graph.devices.push_back(open);
  EXPECT_THAT(obstacles(), ElementsAre("it is LUKS1, and open as /dev/mapper/old"));
}

TEST_F(PlanTest, AVolumeInAnotherGroupIsSaidSo) {
  make_ours();
  policy = "[group.b]\n[[rule]]\nname = \"all\"\ngroup = \"b\"\n";
  EXPECT_EQ(plan().why, "encrypted, in group 'default' where the policy says 'b'");
}

TEST_F(PlanTest, OurOwnEncryptionGoesOnAndThatOfOthersIsLeftToThem) {
  LuksHeader& header = make_ours();
  header.reencryption = "encrypt";
  header.encrypted_bytes = gib / 4;
  header.data_bytes = gib;
  EXPECT_EQ(plan().task, Task::resume);
  EXPECT_EQ(plan().bytes, 2 * (gib - gib / 4));
  header.tokens.clear();
  EXPECT_THAT(obstacles(), ElementsAre("another program has begun to encrypt it"));
  header = make_ours();
  header.reencryption = "decrypt";
  EXPECT_THAT(obstacles(), ElementsAre("another program has begun to decrypt it"));
}

TEST_F(PlanTest, ADamagedHeaderIsRefusedNotFormatted) {
  LuksHeader& header = make_luks();
  header.damage = "both copies have a wrong checksum";
  header.segments.clear();
  EXPECT_THAT(obstacles(),
              ElementsAre("its LUKS header cannot be read: both copies have a wrong checksum"));
}

TEST_F(PlanTest, TheNullCipherIsRefused) {
  make_luks().segments[0].cipher = "cipher_null-ecb";
  EXPECT_EQ(plan().task, Task::refuse);
}

TEST_F(PlanTest, CollectsEveryObstacle) {
  disk().size = 32 * mib;
  disk().read_only = true;
  disk().mounts = {"/srv"};
  EXPECT_THAT(obstacles(), ElementsAre("it is read-only", "it is mounted at /srv",
                                       "it has 32 MiB, and encryption in place needs 64 MiB"));
}

TEST_F(PlanTest, RefusesWhatIsTooSmallOrInUse) {
  make_blank();
  disk().size = 32 * mib - 512;
  EXPECT_THAT(obstacles(), ElementsAre(HasSubstr("a LUKS2 volume needs 32 MiB")));
  disk().size = 32 * mib;
  EXPECT_THAT(obstacles(), IsEmpty());
  disk().in_use = "held by process 77";
  EXPECT_THAT(obstacles(), ElementsAre("it is in use: held by process 77"));
}

TEST_F(PlanTest, RefusesTwoPathsToOneDisk) {
  const Content same = disk().content;
  add("sdb", DeviceKind::disk, {}).content = same;
  EXPECT_THAT(obstacles(), ElementsAre(HasSubstr("/dev/sdb has a file system with the same UUID")));
  make_blank(0);
  make_blank(1);
  graph[0].wwn = graph[1].wwn = "0x5000";
  EXPECT_THAT(obstacles(), ElementsAre(HasSubstr("/dev/sdb has the same world wide name")));
}

TEST_F(PlanTest, RefusesThinVolumesAndSnapshots) {
  Device& lv = add("dm-0", DeviceKind::mapped, {0});
  lv.content = disk().content;
  lv.table = {{.length = 2048, .target = "thin"}};
  disk().content = {.kind = ContentKind::lvm_member, .type = "LVM2_member"};
  EXPECT_THAT(obstacles(), ElementsAre(HasSubstr("it is a thin volume")));
  graph[1].table[0].target = "snapshot-origin";
  EXPECT_THAT(obstacles(), ElementsAre(HasSubstr("it is a snapshot or has one")));
  graph[1].table[0].target = "vdo";
  EXPECT_THAT(obstacles(), ElementsAre(HasSubstr("device-mapper target 'vdo'")));
  graph[1].table[0].target = "linear";
  EXPECT_THAT(obstacles(), IsEmpty());
}

TEST_F(PlanTest, SectorsAreLargeOnlyWhereEverythingAllows) {
  EXPECT_EQ(plan().sector_size, 4096U);
  disk().content.block_size = 1024;
  EXPECT_EQ(plan().sector_size, 512U);
  disk().content.block_size = 0;
  EXPECT_EQ(plan().sector_size, 512U);
  disk().content.block_size = 4096;
  disk().size = gib + 512;
  EXPECT_EQ(plan().sector_size, 512U);
  disk().size = gib;
  disk().start = 32256;
  EXPECT_EQ(plan().sector_size, 512U);
  disk().start = mib;
  policy = "[volumes]\nsector_size = 512\n";
  EXPECT_EQ(plan().sector_size, 512U);
  disk().logical_sector = 4096;
  EXPECT_EQ(plan().sector_size, 4096U);
}

TEST_F(PlanTest, QueuesAreLeftOutOnNvmeOnlyUnlessThePolicySaysMore) {
  disk().bus = "ata";
  EXPECT_EQ(plan().crypttab_options, "luks");
  disk().bus = "nvme";
  EXPECT_EQ(plan().crypttab_options, "luks,no-read-workqueue,no-write-workqueue");
  policy = "[volumes]\nworkqueue = \"on\"\n";
  EXPECT_EQ(plan().crypttab_options, "luks");
  policy += "[[rule]]\nname = \"r\"\nworkqueue = \"off\"\n";
  disk().bus = "ata";
  EXPECT_EQ(plan().crypttab_options, "luks,no-read-workqueue,no-write-workqueue");
  // What somebody wrote by hand stays, and is not written twice.
  policy = "[volumes]\ncrypttab_options = \"no-read-workqueue,luks,nofail\"\n";
  EXPECT_EQ(plan().crypttab_options, "no-read-workqueue,luks,nofail");
  disk().bus = "nvme";
  EXPECT_EQ(plan().crypttab_options, "no-read-workqueue,luks,nofail,no-write-workqueue");
  policy += "[[rule]]\nname = \"r\"\nworkqueue = \"on\"\n";
  EXPECT_EQ(plan().crypttab_options, "luks,nofail");

  // One leg that spins is enough.
  policy.clear();
  Device& array = add("md0", DeviceKind::md, {0, 2});
  array.content = disk().content;
  add("sdb", DeviceKind::disk, {}).bus = "ata";
  const std::vector<VolumePlan> volumes = whole().volumes;
  ASSERT_EQ(volumes.size(), 1U);
  EXPECT_EQ(volumes[0].name, "md0");
  EXPECT_EQ(volumes[0].crypttab_options, "luks");
}

TEST_F(PlanTest, DiscardsAreOffUntilThePolicyWantsThem) {
  EXPECT_THAT(plan().crypttab_options, Not(HasSubstr("discard")));
  policy = "[volumes]\ndiscard = true\n";
  EXPECT_EQ(plan().crypttab_options, "luks,discard");
  EXPECT_THAT(plan().steps, Contains(HasSubstr("(luks,discard)")));
  policy += "[[rule]]\nname = \"r\"\ndiscard = false\nmatch.path = \"/dev/sda\"\n";
  EXPECT_EQ(plan().crypttab_options, "luks");
  policy = "[[rule]]\nname = \"r\"\ndiscard = true\nmatch.path = \"/dev/sdb\"\n";
  EXPECT_EQ(plan().crypttab_options, "luks") << "the rule is about another disk";
}

TEST_F(PlanTest, ARuleHasItsOwnCipher) {
  policy =
      "[volumes]\nsector_size = 512\n[[rule]]\nname = \"r\"\nmatch.path = \"/dev/sda\"\n"
      "cipher = \"serpent-xts-plain64\"\nkey_bits = 256\nsector_size = \"auto\"\n";
  EXPECT_EQ(plan().cipher, "serpent-xts-plain64");
  EXPECT_EQ(plan().key_bits, 256);
  EXPECT_EQ(plan().sector_size, 4096U);
  disk().content.block_size = 1024;
  EXPECT_EQ(plan().sector_size, 512U) << "the file system could not be mounted again";
  disk().content.block_size = 4096;
  policy += "[[rule]]\nname = \"s\"\n";
  policy.replace(policy.find("/dev/sda"), 8, "/dev/sdb");
  EXPECT_EQ(plan().cipher, "aes-xts-plain64");
  EXPECT_EQ(plan().sector_size, 512U);
}

TEST_F(PlanTest, MappingNamesComeFromWhatPeopleSayAndNeverClash) {
  disk().content.label = "My  Data/1";
  EXPECT_EQ(plan().mapping, "My-Data-1");
  graph.crypttab = {{.name = "My-Data-1", .source = "UUID=other"}};
  EXPECT_EQ(plan().mapping, "My-Data-1-crypt");
  Device& other = add("dm-0", DeviceKind::mapped, {});
  other.dm_name = "My-Data-1-crypt";
  EXPECT_EQ(plan().mapping, "My-Data-1-crypt-2");
  // A line that means this volume keeps its name.
  graph.crypttab.push_back({.name = "kept_name", .source = "/dev/sda"});
  EXPECT_EQ(plan().mapping, "kept_name");
}

TEST_F(PlanTest, AHostileLabelIsNoNameAndIsEscaped) {
  disk().content.label = "\x1b[2J../\xe2\x80\xae";
  EXPECT_EQ(plan().mapping, "2J");
  disk().content.label = "control";
  EXPECT_EQ(plan().mapping, "control-crypt");
  disk().content.label = "\x1b]0;\x07";
  disk().mounts = {"/srv/\x1b[31m"};
  disk().path = "/dev/disk/\x1b[2J";
  const std::string text = to_text(whole({.unmount = true}), 80) + to_text(whole(), 80);
  for (const char c : text) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << int{c};
  const std::string json = to_json(whole());
  for (const char c : json) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << int{c};
}

TEST_F(PlanTest, TheRuleThatDecidesIsNamed) {
  policy =
      "[[rule]]\nname = \"keep\"\naction = \"leave\"\nreason = \"test\"\nuntil = \"2030-05-01\"\n"
      "match.path = \"/dev/sd*\"\n";
  EXPECT_EQ(plan().task, Task::leave);
  EXPECT_EQ(plan().rule, "keep");
  EXPECT_EQ(plan().why, "exempt until 2030-05-01: test");
  EXPECT_EQ(plan({.today = "2030-05-02"}).task, Task::encrypt_in_place);
  EXPECT_EQ(plan({.today = "2030-05-02"}).why,
            "not encrypted; its exemption ended on "
            "2030-05-01");
  policy =
      "[[rule]]\nname = \"no\"\naction = \"forbid\"\nreason = \"test\"\n"
      "match.path = \"/dev/sd*\"\n";
  EXPECT_EQ(plan().task, Task::forbid);
  EXPECT_THAT(plan().steps, IsEmpty());
}

TEST_F(PlanTest, OnlyWhatIsAskedForIsPlannedUnderTheSameNames) {
  disk().content.label = "data";
  Device& second = add("sdb", DeviceKind::disk, {});
  second.content = {.kind = ContentKind::filesystem, .type = "ext4", .label = "data", .uuid = "u2"};
  const std::string name = whole().volumes.at(1).mapping;
  EXPECT_EQ(name, "data-crypt");
  const Plan one = whole({.only = {"/dev/sdb"}});
  ASSERT_EQ(one.volumes.size(), 1U);
  EXPECT_EQ(one.volumes[0].mapping, name);
  EXPECT_THROW(whole({.only = {"/dev/sdx"}}), Error);
}

TEST_F(PlanTest, ADiskWithPartitionsIsNoVolume) {
  const Content ext4 = disk().content;
  add("sda1", DeviceKind::partition, {0}).content = ext4;
  disk().content = {.kind = ContentKind::partition_table, .type = "gpt"};
  try {
    whole({.only = {"/dev/sda"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::usage);
    EXPECT_STREQ(error.what(), "plan /dev/sda: it is no volume itself; name /dev/sda1");
  }
}

TEST_F(PlanTest, WhatChangedSinceIsSaid) {
  const VolumePlan planned = plan();
  EXPECT_EQ(what_changed(planned, graph), "");
  const auto after = [&](auto change) {
    DeviceGraph now = graph;
    change(now[0]);
    return what_changed(planned, now);
  };
  EXPECT_EQ(after([](Device& now) { now.diskseq = 8; }), "another disk has come in its place");
  EXPECT_EQ(after([](Device& now) { now.size = 2 * gib; }),
            "it has 2 GiB now, and had 1 GiB when the plan was made");
  EXPECT_EQ(after([](Device& now) { now.content.type = "xfs"; }),
            "it holds xfs now, and held ext4 when the plan was made");
  EXPECT_EQ(after([](Device& now) { now.content.uuid = "u9"; }),
            "it holds another file system now than when the plan was made");
  EXPECT_EQ(after([](Device& now) { now.mounts = {"/mnt"}; }), "it is mounted at /mnt now");
  EXPECT_EQ(after([](Device& now) { now.swap_active = true; }), "it is active swap now");
  EXPECT_EQ(after([](Device& now) { now.read_only = true; }), "it is read-only now");
  EXPECT_EQ(after([](Device& now) { now.name = "sdc"; }),
            "its name stands for sdc now, and stood for sda when the plan was made");
  EXPECT_EQ(after([](Device& now) { now.path = "/dev/sdz", now.name = "sdz"; }),
            "it is not there any more");
  add("dm-0", DeviceKind::mapped, {0});
  EXPECT_EQ(what_changed(planned, graph), "/dev/dm-0 stands on it now");
}

TEST_F(PlanTest, JsonSaysTheSame) {
  disk().content.label = "data";
  const auto json = nlohmann::json::parse(to_json(whole()));
  EXPECT_EQ(json.at("schema"), "volseal-plan/1");
  EXPECT_EQ(json.at("has_work"), true);
  EXPECT_EQ(json.at("has_obstacles"), false);
  const auto& volume = json.at("volumes").at(0);
  EXPECT_EQ(volume.at("task"), "encrypt in place");
  EXPECT_EQ(volume.at("path"), "/dev/sda");
  EXPECT_EQ(volume.at("mapping"), "data");
  EXPECT_EQ(volume.at("sector_size"), 4096);
  EXPECT_EQ(volume.at("size"), gib);
  EXPECT_FALSE(volume.contains("obstacles"));
}

}  // namespace
}  // namespace volseal
