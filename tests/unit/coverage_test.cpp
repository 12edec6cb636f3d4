// The truth table of stacks: what is encrypted, what only looks so.
#include "core/coverage/coverage.h"

#include "tests/support/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class CoverageTest : public ::testing::Test, public test::Machine {};

TEST_F(CoverageTest, LuksOnAPartitionIsCoveredLockedOrOpen) {
  const At part = luks(partition(disk("sda"), "sda1"));
  EXPECT_EQ(verdict("/dev/sda1"), Verdict::covered);
  EXPECT_EQ(of("/dev/sda1").content, "luks2 (locked)");
  holds(crypt(part, "data"), "ext4", "/srv");
  const VolumeVerdict open = of("/dev/sda1");
  EXPECT_EQ(open.verdict, Verdict::covered);
  EXPECT_EQ(open.content, "ext4");
  EXPECT_THAT(open.mounts, ElementsAre("/srv"));
  EXPECT_THAT(open.protectors, ElementsAre("recovery-key", "tpm"));
  EXPECT_EQ(open.key_bits, 512U);
  EXPECT_EQ(coverage().volumes.size(), 1U);
  EXPECT_EQ(coverage().exit_status(), 0);
}

TEST_F(CoverageTest, PlainFileSystemsSwapAndOldDisksAreNot) {
  holds(partition(disk("sda"), "sda1"), "ext4", "/srv");
  holds(disk("sdb"), "swap");
  holds(disk("sdc"), "xfs");
  graph[disk("sdd")].content = {.kind = ContentKind::lvm_member, .type = "LVM2_member"};
  for (const char* path : {"/dev/sda1", "/dev/sdb", "/dev/sdc", "/dev/sdd"}) {
    EXPECT_EQ(verdict(path), Verdict::not_covered) << path;
  }
  EXPECT_EQ(coverage().exit_status(), 2);
}

TEST_F(CoverageTest, BlankAndUnknownDisksAreUndecided) {
  disk("sda");
  graph[disk("sdb")].content.kind = ContentKind::unknown;
  graph[disk("sdc")].content.kind = ContentKind::unreadable;
  for (const char* path : {"/dev/sda", "/dev/sdb", "/dev/sdc"})
    EXPECT_EQ(verdict(path), Verdict::unknown) << path;
  EXPECT_EQ(coverage().exit_status(), 3);
}

// A type is only a label that whoever made the partition chose.
TEST_F(CoverageTest, ABootPartitionHoldsNoDataOnlyAtItsUsualSize) {
  const At boot = partition(disk("sda"), "sda1");
  graph[boot].partition_type = "21686148-6449-6e6f-744e-656564454649";
  graph[boot].size = 1U << 20U;
  EXPECT_TRUE(coverage().volumes.empty());
  graph[boot].size = gibibyte;
  holds(boot, "xfs");
  EXPECT_EQ(verdict("/dev/sda1"), Verdict::not_covered);
}

TEST_F(CoverageTest, WaysInOfFewerFactorsThanThePolicyAsksForAreNamed) {
  const At part = luks(disk("sda"));
  LuksHeader& header = *graph[part].luks;
  header.keyslots = {{.id = 0, .type = "luks2"},
                     {.id = 1, .type = "luks2"},
                     {.id = 2, .type = "luks2"},
                     {.id = 3, .type = "luks2"},
                     {.id = 4, .type = "luks2"}};
  header.tokens = {
      {.id = 0, .type = "systemd-recovery", .keyslots = {0}},
      {.id = 1, .type = "volseal-tpm2", .keyslots = {1}, .group = "default"},
      {.id = 2, .type = "systemd-fido2", .keyslots = {2}, .two_factors = true},
      {.id = 3, .type = "volseal-all-of", .keyslots = {3}, .parts = {"fido2", "passphrase"}},
      {.id = 4, .type = "clevis", .keyslots = {4}}};
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered);
  policy.groups.at(0).factors = 2;
  EXPECT_THAT(of("/dev/sda").reasons,
              ElementsAre("/dev/sda: keyslot 0 (recovery-key) takes 1 factor, and group default "
                          "asks for 2"));
  EXPECT_THAT(of("/dev/sda").protectors,
              ElementsAre("recovery-key", "tpm", "fido2", "fido2+passphrase", "clevis"));
  // What lies in escrow alone takes a private key and its passphrase.
  header.tokens.push_back({.id = 5, .type = "volseal-escrow", .escrowed_keyslot = 0});
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered);
  policy.groups.at(0).escrow = EscrowPolicy{.certificates = {"/a.pem"}, .show = true};
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("keyslot 0 (recovery-key) takes 1")));
  policy.groups.at(0).escrow.reset();
  policy.groups.at(0).factors = 3;
  EXPECT_THAT(of("/dev/sda").reasons,
              ElementsAre(HasSubstr("keyslot 0 (recovery-key) takes 2 factors"),
                          HasSubstr("keyslot 2 (fido2) takes 2 factors"),
                          HasSubstr("keyslot 3 (fido2+passphrase) takes 2 factors")));
  header.tokens.at(3).two_factors = true;
  EXPECT_EQ(of("/dev/sda").reasons.size(), 2U);
}

TEST_F(CoverageTest, LvmOnLuksIsCoveredPerVolume) {
  const At vault = crypt(luks(partition(disk("sda"), "sda1")), "vault");
  holds(mapped("vg-one", "linear", {vault}), "ext4", "/one");
  holds(mapped("vg-two", "linear", {vault}), "ext4", "/two");
  EXPECT_EQ(verdict("/dev/mapper/vg-one"), Verdict::covered);
  EXPECT_EQ(verdict("/dev/mapper/vg-two"), Verdict::covered);
  EXPECT_EQ(coverage().volumes.size(), 2U);
}

TEST_F(CoverageTest, LuksOnLvmIsCovered) {
  const At volume = luks(mapped("vg-one", "linear", {disk("sda")}));
  holds(crypt(volume, "data"), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/mapper/vg-one"), Verdict::covered);
}

TEST_F(CoverageTest, OnePlainMemberSpoilsTheVolumesThatUseIt) {
  const At vault = crypt(luks(disk("sda")), "vault");
  const At plain = disk("sdb");
  holds(mapped("vg-on_vault", "linear", {vault}), "ext4");
  holds(mapped("vg-on_both", "linear", {vault, plain}, false), "ext4");
  EXPECT_EQ(verdict("/dev/mapper/vg-on_vault"), Verdict::covered);
  EXPECT_EQ(verdict("/dev/mapper/vg-on_both"), Verdict::not_covered);
  EXPECT_THAT(of("/dev/mapper/vg-on_both").reasons, ElementsAre("/dev/sdb is not encrypted"));
}

TEST_F(CoverageTest, AnArrayIsAsGoodAsItsWorstLeg) {
  const At one = crypt(luks(disk("sda")), "one");
  const At two = crypt(luks(disk("sdb")), "two");
  holds(made_of("md0", {one, two}, DeviceKind::md), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/md0"), Verdict::covered);
  holds(made_of("md1", {one, disk("sdc")}, DeviceKind::md), "ext4", "/bad");
  EXPECT_EQ(verdict("/dev/md1"), Verdict::not_covered);
}

TEST_F(CoverageTest, LuksOverAnArrayIsCovered) {
  holds(crypt(luks(made_of("md0", {disk("sda"), disk("sdb")}, DeviceKind::md)), "data"), "ext4",
        "/srv");
  EXPECT_EQ(verdict("/dev/md0"), Verdict::covered);
}

TEST_F(CoverageTest, ADecoyWithACryptUuidIsPlain) {
  const At decoy = holds(mapped("decoy", "linear", {disk("sda")}), "ext4", "/srv");
  graph[decoy].dm_uuid = "CRYPT-LUKS2-0123456789abcdef-decoy";
  EXPECT_EQ(verdict("/dev/mapper/decoy"), Verdict::not_covered);
}

TEST_F(CoverageTest, ALinearWindowOntoALuksPartitionIsPlain) {
  holds(mapped("window", "linear", {luks(disk("sda"))}), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/mapper/window"), Verdict::not_covered);
}

TEST_F(CoverageTest, NullCiphersAreNoEncryption) {
  graph[luks(disk("sda"))].luks->segments[0].cipher = "cipher_null-ecb";
  holds(crypt(disk("sdb"), "plain", "cipher_null-ecb", 0), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/sda"), Verdict::not_covered);
  EXPECT_EQ(verdict("/dev/mapper/plain"), Verdict::not_covered);
}

TEST_F(CoverageTest, TheKernelsTableCountsAndNotTheHeaderAlone) {
  const At volume = luks(disk("sda"));
  holds(crypt(volume, "data", "cipher_null-ecb", 0), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/sda"), Verdict::not_covered);
}

TEST_F(CoverageTest, EncryptionUnderWayIsConvertingEvenWhenItsTableIsLinear) {
  const At volume = luks(disk("sda"));
  graph[volume].luks->reencryption = "encrypt";
  graph[volume].luks->encrypted_bytes = 250;
  graph[volume].luks->data_bytes = 1000;
  graph[volume].luks->segments.push_back({.type = "linear", .offset = 0, .size = 750});
  EXPECT_EQ(verdict("/dev/sda"), Verdict::converting);
  holds(mapped("data", "linear", {volume}), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/sda"), Verdict::converting);
  EXPECT_EQ(static_cast<int>(of("/dev/sda").percent), 25);
  EXPECT_EQ(coverage().volumes.size(), 1U);
  EXPECT_EQ(coverage().exit_status(), 2);
}

TEST_F(CoverageTest, AClearCacheInFrontOfAnEncryptedOriginIsAHole) {
  const At origin = crypt(luks(disk("sda")), "origin");
  holds(mapped("cached", "cache", {disk("nvme0n1"), disk("nvme1n1"), origin}), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/mapper/cached"), Verdict::not_covered);
  holds(crypt(luks(mapped("below", "cache", {disk("nvme2n1"), disk("sdb")})), "above"), "ext4",
        "/good");
  EXPECT_EQ(verdict("/dev/mapper/below"), Verdict::covered);
}

TEST_F(CoverageTest, WhatIsGoneWithThePowerIsCovered) {
  holds(disk("zram0", DeviceKind::zram), "swap");
  EXPECT_EQ(verdict("/dev/zram0"), Verdict::covered);
  const At backed = holds(disk("zram1", DeviceKind::zram), "swap");
  disk("sdz");
  graph[backed].backing_device = "sdz";
  EXPECT_EQ(verdict("/dev/zram1"), Verdict::not_covered);
  holds(crypt(disk("sdy"), "swap"), "swap");
  EXPECT_EQ(verdict("/dev/mapper/swap"), Verdict::covered_weak)
      << "a fixed key, and no way to recover it";
  graph.crypttab.push_back(
      {.name = "swap", .source = "/dev/sdy", .key = "/dev/urandom", .options = "swap"});
  EXPECT_EQ(verdict("/dev/mapper/swap"), Verdict::covered);
}

TEST_F(CoverageTest, ALoopFileIsAsGoodAsWhereItLies) {
  const At vault = holds(crypt(luks(disk("sda")), "vault"), "ext4", "/vault");
  const At good = holds(disk("loop0", DeviceKind::loop), "ext4", "/a");
  const At bad = holds(disk("loop1", DeviceKind::loop), "ext4", "/b");
  holds(disk("sdb"), "ext4", "/plain");
  graph[good].backing_device = graph[vault].name;
  graph[bad].backing_device = "sdb";
  holds(disk("loop2", DeviceKind::loop), "ext4", "/c");
  EXPECT_EQ(verdict("/dev/loop0"), Verdict::covered);
  EXPECT_EQ(verdict("/dev/loop1"), Verdict::not_covered);
  EXPECT_EQ(verdict("/dev/loop2"), Verdict::unknown);
}

TEST_F(CoverageTest, IntegrityAndVerityAloneAreNoEncryption) {
  holds(mapped("sums", "integrity", {disk("sda")}), "ext4", "/srv");
  holds(mapped("tree", "verity", {disk("sdb")}), "squashfs", "/usr");
  EXPECT_EQ(verdict("/dev/mapper/sums"), Verdict::not_covered);
  EXPECT_EQ(verdict("/dev/mapper/tree"), Verdict::not_covered);
}

TEST_F(CoverageTest, WhatOthersEncryptedIsWeakWithoutOurWaysIn) {
  const At volume = luks(disk("sda"));
  graph[volume].luks->tokens.clear();
  const VolumeVerdict found = of("/dev/sda");
  EXPECT_EQ(found.verdict, Verdict::covered_weak);
  EXPECT_THAT(found.protectors, ElementsAre("passphrase"));
  EXPECT_THAT(found.reasons,
              ElementsAre(HasSubstr("no TPM protector"), HasSubstr("no recovery-key protector"),
                          HasSubstr("keyslot 0 stretches"), HasSubstr("keyslot 1 stretches")));
  EXPECT_EQ(coverage().exit_status(), 1);
}

TEST_F(CoverageTest, AFido2KeyCountsAsTwoFactorsWithPinAndTouchOnly) {
  policy = parse_policy("[group.default]\nrecovery = [\"fido2\"]\n", "test");
  LuksHeader& header = *graph[luks(disk("sda"))].luks;
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("no fido2 protector")));
  header.keyslots.push_back(
      {.id = 2, .type = "luks2", .pbkdf = "pbkdf2", .cost = 1000, .key_bytes = 64});
  header.tokens.push_back({.id = 2, .type = "systemd-fido2", .keyslots = {2}, .two_factors = true});
  EXPECT_EQ(of("/dev/sda").verdict, Verdict::covered);
  EXPECT_THAT(of("/dev/sda").protectors, ElementsAre("recovery-key", "tpm", "fido2"));
  header.tokens.back().two_factors = false;
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("one factor")));
}

TEST_F(CoverageTest, OldHeadersShortKeysAndEcbAreWeak) {
  graph[luks(disk("sda"))].luks->version = 1;
  graph[luks(disk("sdb"))].luks->key_bytes = 16;
  graph[luks(disk("sdc"))].luks->segments[0].cipher = "aes-ecb";
  for (const char* path : {"/dev/sda", "/dev/sdb", "/dev/sdc"})
    EXPECT_EQ(verdict(path), Verdict::covered_weak) << path;
}

TEST_F(CoverageTest, ABrokenHeaderIsNoProof) {
  const At volume = luks(disk("sda"));
  graph[volume].luks = LuksHeader{.damage = "no header copy is good"};
  EXPECT_EQ(verdict("/dev/sda"), Verdict::unknown);
}

TEST_F(CoverageTest, BehindAPlainRootTheLatchProtectsNothing) {
  luks(disk("sdb"));
  EXPECT_EQ(verdict("/dev/sdb"), Verdict::covered);
  holds(partition(disk("sda"), "sda1"), "ext4", "/");
  EXPECT_EQ(verdict("/dev/sdb"), Verdict::covered_weak);
  EXPECT_THAT(of("/dev/sdb").reasons, ElementsAre(HasSubstr("root file system is not encrypted")));
}

TEST_F(CoverageTest, ExemptionsHoldUntilTheirDay) {
  policy = parse_policy(
      "[[rule]]\nname = \"boot\"\nmatch = { mount = \"/boot\" }\naction = \"leave\"\n"
      "reason = \"read before anything can unlock\"\nuntil = \"2026-06-01\"\n",
      "test");
  holds(partition(disk("sda"), "sda1"), "ext4", "/boot");
  EXPECT_EQ(verdict("/dev/sda1"), Verdict::exempt);
  EXPECT_EQ(judge(graph, policy, "2026-06-02").volumes.at(0).verdict, Verdict::not_covered);
}

TEST_F(CoverageTest, AMountedWholeDiskWithPartitionsIsJudgedToo) {
  const At whole = disk("sda");
  holds(partition(whole, "sda1"), "ext4", "/one");
  holds(whole, "ext4", "/whole");
  EXPECT_EQ(verdict("/dev/sda"), Verdict::not_covered);
  EXPECT_EQ(verdict("/dev/sda1"), Verdict::not_covered);
}

TEST_F(CoverageTest, AVanishedOrCyclicDeviceIsUndecidedAndEnds) {
  const At torn = holds(mapped("torn", "linear", {disk("sda")}), "ext4", "/srv");
  graph[torn].table[0].devices = {"gone"};
  EXPECT_EQ(verdict("/dev/mapper/torn"), Verdict::unknown);
  const At snake = holds(mapped("snake", "linear", {torn}), "ext4", "/snake");
  graph[torn].table[0].devices = {graph[snake].name};
  EXPECT_EQ(verdict("/dev/mapper/snake"), Verdict::unknown);
}

TEST_F(CoverageTest, APartitionIsNamedAndNotItsDisk) {
  holds(partition(disk("sda"), "sda1"), "ext4", "/srv");
  EXPECT_THAT(of("/dev/sda1").reasons, ElementsAre("/dev/sda1 is not encrypted"));
}

TEST_F(CoverageTest, ANullCipherInsideALuksVolumeDoesNoHarm) {
  const At vault = crypt(luks(disk("sda")), "vault");
  holds(crypt(vault, "inner", "cipher_null-ecb", 0), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/mapper/inner"), Verdict::covered);
}

TEST_F(CoverageTest, LuksWithIntegrityIsOneVolume) {
  const At volume = luks(disk("sda"));
  const At tags = mapped("data_dif", "integrity", {volume});
  holds(crypt(tags, "data", "capi:authenc(hmac(sha256),xts(aes))-random", 96), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered);
  EXPECT_EQ(of("/dev/sda").content, "ext4");
  EXPECT_EQ(coverage().volumes.size(), 1U);
}

TEST_F(CoverageTest, ThinPoolsCountThroughTheirThinVolumes) {
  const At tpool = mapped("vg-pool-tpool", "thin-pool", {disk("sda"), disk("sdb")});
  mapped("vg-pool", "linear", {tpool});
  const At thin = luks(mapped("vg-thin", "thin", {tpool}));
  EXPECT_EQ(coverage().volumes.size(), 1U);
  EXPECT_EQ(verdict("/dev/mapper/vg-thin"), Verdict::covered);
  graph[thin].luks.reset();
  holds(thin, "ext4");
  EXPECT_EQ(verdict("/dev/mapper/vg-thin"), Verdict::not_covered);
}

TEST_F(CoverageTest, AStaleHeaderBelowPlainDmCryptRecoversNothing) {
  const At mapping = holds(crypt(luks(disk("sda")), "data"), "ext4", "/srv");
  graph[mapping].table[0].offsets = {0};
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("no way to recover it is known")));
}

TEST_F(CoverageTest, ReadableSectorsBelieHeaders) {
  const At volume = luks(disk("sda"));
  graph[volume].luks->plaintext = "ext4";
  EXPECT_EQ(verdict("/dev/sda"), Verdict::not_covered);
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("ext4 can be read")));
  // From now on it is encrypted; what was there before still shows.
  crypt(volume, "data");
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered_weak);
  graph[volume].luks->reencryption = "encrypt";
  EXPECT_EQ(verdict("/dev/sda"), Verdict::converting);
}

TEST_F(CoverageTest, ALinearWindowIsNoOpenVolumeWhileKeysAreChanged) {
  const At volume = luks(disk("sda"));
  graph[volume].luks->reencryption = "reencrypt";
  holds(mapped("window", "linear", {volume}), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/mapper/window"), Verdict::not_covered);
}

TEST_F(CoverageTest, AnEscrowIsShownAndItsAbsenceIsAWarningWhereThePolicyWantsIt) {
  const At at = luks(disk("sda"));
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered);
  policy.groups.at(0).escrow = EscrowPolicy{.certificates = {"/a.pem"}, .directory = "/srv"};
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered_weak);
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("not in escrow")));

  Token token{.id = 2, .type = "volseal-escrow", .escrowed_keyslot = 0};
  token.certificates = {std::string(64, 'a'), std::string(64, 'b')};
  token.threshold = 2;
  token.acknowledged = "2026-05-01T12:00:00.000Z";
  token.escrowed_to = "command";
  graph[at].luks->tokens.push_back(token);
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered);
  EXPECT_THAT(of("/dev/sda").protectors, ElementsAre("recovery-key", "tpm"));
  EXPECT_THAT(to_json(coverage()), HasSubstr(R"("acknowledged": "2026-05-01T12:00:00.000Z")"));
  EXPECT_THAT(to_text(coverage(), {}), HasSubstr("in escrow since 2026-05-01 with 2 of 2:"));

  // The keyslot is another key's now.
  graph[at].luks->tokens.back().escrowed_keyslot.reset();
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered_weak);
  EXPECT_THAT(to_text(coverage(), {}), Not(HasSubstr("in escrow since")));
}

TEST_F(CoverageTest, ATokenWithoutItsKeyslotOpensNothing) {
  graph[luks(disk("sda"))].luks->keyslots.pop_back();
  EXPECT_THAT(of("/dev/sda").protectors, ElementsAre("recovery-key"));
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("no TPM protector")));
}

TEST_F(CoverageTest, AVolumeOfAnotherGroupIsWeak) {
  graph[luks(disk("sda"))].luks->tokens[1].group = "tenant-b";
  EXPECT_EQ(of("/dev/sda").group, "tenant-b");
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("enrolled in group tenant-b")));
}

TEST_F(CoverageTest, ABtrfsIsAsGoodAsItsWorstMember) {
  const At good = holds(crypt(luks(disk("sda")), "good"), "btrfs", "/srv");
  const At bad = holds(disk("sdb"), "btrfs", "/srv");
  graph[bad].content.uuid = graph[good].content.uuid;
  EXPECT_EQ(verdict("/dev/sda"), Verdict::not_covered);
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre("/dev/sdb is a member of the same btrfs"));
}

TEST_F(CoverageTest, WhatLiesOnAnotherMachineIsUndecidedUnlessEncryptedHere) {
  holds(disk("nbd0", DeviceKind::network), "ext4", "/a");
  const At remote = disk("sda");
  graph[remote].bus = "iscsi";
  holds(remote, "ext4", "/b");
  holds(crypt(luks(disk("nbd1", DeviceKind::network)), "c"), "ext4", "/c");
  EXPECT_EQ(verdict("/dev/nbd0"), Verdict::unknown);
  EXPECT_EQ(verdict("/dev/sda"), Verdict::unknown);
  EXPECT_EQ(verdict("/dev/nbd1"), Verdict::covered);
}

TEST_F(CoverageTest, CrypttabTellsOfAHeaderElsewhere) {
  graph[disk("sda")].content = {.kind = ContentKind::unknown, .detail = "looks random"};
  graph.crypttab.push_back(
      {.name = "far", .source = "/dev/sda", .key = "none", .options = "luks,header=/h"});
  EXPECT_EQ(verdict("/dev/sda"), Verdict::unknown);
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre(HasSubstr("crypttab opens it as far")));
}

TEST_F(CoverageTest, GuessableVectorsAreWeak) {
  holds(crypt(luks(disk("sda")), "old", "aes-cbc-plain", 32), "ext4", "/srv");
  EXPECT_EQ(verdict("/dev/sda"), Verdict::covered_weak);
}

TEST_F(CoverageTest, NothingSeenIsNothingProven) {
  EXPECT_EQ(coverage().exit_status(), 3);
}

// Found by thought: a walk along every path of such a stack would take longer than the universe.
TEST_F(CoverageTest, HighAndWideStacksEnd) {
  At left = disk("a");
  At right = disk("b");
  for (int i = 0; i < 5000; ++i) {
    const At next = mapped("l" + std::to_string(i), "striped", {left, right});
    right = mapped("r" + std::to_string(i), "striped", {left, right});
    left = next;
  }
  holds(left, "ext4", "/srv");
  EXPECT_EQ(verdict(graph[left].path), Verdict::unknown);
}

TEST_F(CoverageTest, TheTextIsEscapedFitsAndSaysTheWorstLast) {
  graph[holds(disk("sda"), "ext4", "/srv/\x1b[2Jevil")].path = "/dev/\x1b]0;sda";
  luks(disk("sdb"));
  const std::string text = to_text(coverage(), {.columns = 80, .colour = false});
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("NOT COVERED: 2 volumes: 1 not-covered, 1 covered\n"));
  std::size_t begin = 0;
  while (begin < text.size()) {
    const auto end = text.find('\n', begin);
    EXPECT_LE(end - begin, 80U) << text.substr(begin, end - begin);
    begin = end + 1;
  }
}

TEST_F(CoverageTest, JsonCarriesTheVerdictAndItsSchema) {
  holds(disk("sda"), "ext4", "/srv");
  EXPECT_THAT(to_json(coverage()), HasSubstr(R"("schema": "volseal-coverage/1")"));
  EXPECT_THAT(to_json(coverage()), HasSubstr(R"("verdict": "not-covered")"));
}

TEST_F(CoverageTest, AVolumeThatTwoGroupsOpenIsAFinding) {
  policy = parse_policy("[group.tenant-b]\ntenant = \"B\"\n", "test");
  LuksHeader& header = *graph[luks(disk("sda"))].luks;
  header.keyslots.push_back({.id = 2, .type = "luks2", .pbkdf = "argon2id", .key_bytes = 64});
  header.tokens.push_back({.id = 2,
                           .type = "volseal-all-of",
                           .keyslots = {2},
                           .group = "tenant-b",
                           .parts = {"tpm", "passphrase"}});
  const VolumeVerdict both = of("/dev/sda");
  EXPECT_EQ(both.verdict, Verdict::covered_weak);
  EXPECT_EQ(both.group, "default");
  EXPECT_EQ(both.policy_group, "default");
  EXPECT_THAT(both.reasons,
              ::testing::Contains("/dev/sda: in 2 groups at once, and the secret of each opens it: "
                                  "default, tenant-b"));
  // A token that was begun, or that lost its keyslot, opens nothing.
  header.keyslots.pop_back();
  EXPECT_THAT(of("/dev/sda").reasons, ElementsAre());
}

TEST_F(CoverageTest, TheTableSaysWhoseAVolumeIsWhereSomebodyOwnsOne) {
  luks(disk("sda"));
  EXPECT_THAT(to_text(coverage(), {}), Not(HasSubstr("OF")));
  policy = parse_policy("[group.default]\ntenant = \"Tenant A\"\nenvironment = \"production\"\n",
                        "test");
  EXPECT_THAT(to_text(coverage(), {.columns = 120}), HasSubstr("Tenant A/production"));
}

}  // namespace
}  // namespace volseal
