#include "core/discover/discover.h"

#include "core/base/error.h"
#include "core/discover/probe.h"
#include "tests/support/image.h"
#include "tests/support/recorded_machine.h"

#include <gmock/gmock.h>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class ProbeTest : public ImageTest {
 protected:
  Probe probe(const Path& image) const { return volseal::probe(image); }

  // Of version 0 where there is none.
  static LuksHeader header_of(const Probe& probe) {
    return probe.luks.value_or(LuksHeader{.version = 0});
  }

  static void write_at(const Path& image, std::uint64_t offset, const std::string& bytes) {
    std::fstream file(image, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }

  Path luks(const std::string& name, const std::vector<std::string>& options = {}) const {
    const Path image = blank(name, 32);
    const Path key = folder / "key";
    std::ofstream(key) << "correct horse";
    std::vector<std::string> command = {"cryptsetup", "luksFormat", "--batch-mode",
                                        "--pbkdf",    "pbkdf2",     "--pbkdf-force-iterations",
                                        "1000"};
    command.insert(command.end(), options.begin(), options.end());
    command.insert(command.end(), {image.native(), key.native()});
    run_or_throw(command);
    return image;
  }
};

TEST_F(ProbeTest, TellsFileSystemsFromSwapFromPartitionTables) {
  const Content data = probe(ext4("data", 32)).content;
  EXPECT_EQ(data.kind, ContentKind::filesystem);
  EXPECT_EQ(data.type, "ext4");
  EXPECT_EQ(data.label, "data");
  EXPECT_THAT(data.uuid, SizeIs(36));

  const Path swap = blank("swap", 8);
  run_or_throw({"mkswap", "-L", "spare", swap.native()});
  EXPECT_EQ(probe(swap).content.kind, ContentKind::swap);
  EXPECT_EQ(probe(swap).content.label, "spare");

  const Path disk = blank("disk", 16);
  run_or_throw({"sh", "-c", "printf 'label: gpt\n,4M,U\n,,L\n' | sfdisk -q " + disk.native()});
  const Probe table = probe(disk);
  EXPECT_EQ(table.content.kind, ContentKind::partition_table);
  EXPECT_EQ(table.content.type, "gpt");
  ASSERT_THAT(table.partitions, SizeIs(2));
  EXPECT_EQ(table.partitions[0].start, 1U << 20U);
  EXPECT_EQ(table.partitions[0].size, 4U << 20U);
  EXPECT_EQ(table.partitions[0].type, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
}

TEST_F(ProbeTest, ZerosAreBlankAndNothingElseIs) {
  EXPECT_EQ(probe(blank("zeros", 40)).content.kind, ContentKind::blank);
  EXPECT_EQ(probe(blank("small", 1)).content.kind, ContentKind::blank);

  const Path head = blank("head", 40);
  write_at(head, 700'000, "x");
  EXPECT_EQ(probe(head).content.kind, ContentKind::unknown);
  const Path tail = blank("tail", 40);
  write_at(tail, (40U << 20U) - 1, "x");
  EXPECT_EQ(probe(tail).content.kind, ContentKind::unknown);
  // A file somewhere in the middle, as large as one stratum.
  const Path middle = blank("middle", 256);
  write_at(middle, 100U << 20U, std::string(8U << 20U, 'x'));
  EXPECT_EQ(probe(middle).content.kind, ContentKind::unknown);
  EXPECT_EQ(probe(middle).content.detail, "no signature, but not blank");
}

TEST_F(ProbeTest, AsksAFileSystemHowLargeItIs) {
  const auto made = [&](const std::string& name, std::uint64_t mebibytes,
                        std::vector<std::string> mkfs) {
    const Path image = blank(name, mebibytes);
    mkfs.push_back(image.native());
    run_or_throw(mkfs);
    return probe(image).content;
  };
  const Content ext4 = made("ext4", 64, {"mke2fs", "-q", "-t", "ext4", "-b", "1024"});
  EXPECT_EQ(ext4.size, 64U << 20U);
  EXPECT_EQ(ext4.block_size, 1024U);
  EXPECT_GT(ext4.used, 1U << 20U);
  EXPECT_LT(ext4.used, 16U << 20U);
  // XFS leaves what does not fill an allocation group's blocks.
  const Content xfs = made("xfs", 320, {"mkfs.xfs", "-q", "-d", "size=300m"});
  EXPECT_EQ(xfs.size, 300U << 20U);
  EXPECT_EQ(xfs.block_size, 512U) << "its sectors";
  EXPECT_GT(xfs.used, 0U);
  const Content btrfs = made("btrfs", 200, {"mkfs.btrfs", "-q", "-b", "180m"});
  EXPECT_EQ(btrfs.size, 180U << 20U);
  EXPECT_EQ(btrfs.block_size, 4096U);

  // A superblock that claims more than there is says nothing.
  const Path cut = folder / "ext4";
  std::filesystem::resize_file(cut, 32U << 20U);
  EXPECT_EQ(probe(cut).content.size, 0U);
}

TEST_F(ProbeTest, CiphertextWithoutAHeaderIsUnknown) {
  const Path image = folder / "random";
  run_or_throw({"dd", "if=/dev/urandom", "of=" + image.native(), "bs=1M", "count=4"});
  const Content content = probe(image).content;
  EXPECT_EQ(content.kind, ContentKind::unknown);
  EXPECT_THAT(content.detail, HasSubstr("looks random"));
}

TEST_F(ProbeTest, ReadsLuksHeadersOfBothVersions) {
  const Probe two = probe(luks("two", {"--label", "safe"}));
  EXPECT_EQ(two.content.kind, ContentKind::luks2);
  EXPECT_EQ(two.content.label, "safe");
  EXPECT_EQ(header_of(two).uuid, two.content.uuid);
  EXPECT_EQ(header_of(two).damage, "");
  EXPECT_EQ(header_of(two).plaintext, "");
  const Probe one = probe(luks("one", {"--type", "luks1"}));
  EXPECT_EQ(one.content.kind, ContentKind::luks1);
  EXPECT_EQ(header_of(one).version, 1);
}

TEST_F(ProbeTest, SeesAFileSystemInTheClearBehindAHeader) {
  const Path image = luks("liar");
  const Path inner = ext4("inner", 12);
  run_or_throw(
      {"dd", "if=" + inner.native(), "of=" + image.native(), "bs=1M", "seek=16", "conv=notrunc"});
  const Probe found = probe(image);
  EXPECT_EQ(header_of(found).plaintext, "ext4");
}

TEST_F(ProbeTest, SaysWhatIsDamagedOfAHeader) {
  const Path truncated = luks("truncated");
  std::filesystem::resize_file(truncated, 8192);
  const Probe cut = probe(truncated);
  EXPECT_EQ(cut.content.kind, ContentKind::luks2);
  EXPECT_THAT(header_of(cut).damage, HasSubstr("no header copy is good"));

  // Both magics and nothing else: the second copy is what opens it.
  const Path headless = luks("headless");
  write_at(headless, 0, std::string(4096, '\0'));
  const Probe second = probe(headless);
  EXPECT_EQ(second.content.kind, ContentKind::luks2);
  EXPECT_THAT(header_of(second).damage, HasSubstr("the secondary is good"));

  const Path magic = blank("magic", 1);
  write_at(magic, 0, std::string("LUKS\xba\xbe\0\x02", 8));
  EXPECT_NE(probe(magic).content.kind, ContentKind::blank);
}

TEST_F(ProbeTest, ContradictingSignaturesAreUnknown) {
  const Path image = ext4("both", 32);
  const Path xfs = blank("xfs", 320);
  run_or_throw({"mkfs.xfs", "-q", xfs.native()});
  run_or_throw(
      {"dd", "if=" + xfs.native(), "of=" + image.native(), "bs=512", "count=1", "conv=notrunc"});
  const Content content = probe(image).content;
  EXPECT_EQ(content.kind, ContentKind::unknown);
  EXPECT_THAT(content.detail, HasSubstr("xfs"));
  EXPECT_THAT(content.detail, HasSubstr("ext4"));
}

TEST_F(ProbeTest, WhatCannotBeReadIsUnreadable) {
  EXPECT_EQ(probe(folder / "none").content.kind, ContentKind::unreadable);
  EXPECT_EQ(probe("/dev/null").content.kind, ContentKind::unreadable);
  EXPECT_EQ(probe(blank("empty", 0)).content.kind, ContentKind::unknown);
  EXPECT_EQ(probe(blank("empty", 0)).content.detail, "it is empty");
  const Path tiny = blank("tiny", 0);
  write_at(tiny, 0, "x");
  EXPECT_EQ(probe(tiny).content.kind, ContentKind::unknown);
}

TEST_F(ProbeTest, ProbingChangesNoByte) {
  const Path image = luks("same");
  write_at(image, 0, std::string(4096, '\0'));  // libcryptsetup would repair the first copy
  const std::string before = digest(image);
  probe(image);
  EXPECT_EQ(digest(image), before);
}

TEST_F(ProbeTest, AnImageIsADevice) {
  const Device device = scan_image(ext4("image", 32));
  EXPECT_EQ(device.kind, DeviceKind::file);
  EXPECT_EQ(device.size, 32U << 20U);
  EXPECT_EQ(device.content.type, "ext4");
  EXPECT_THROW(scan_image(folder / "none"), Error);
  EXPECT_THROW(scan_image(folder), Error);
}

class ScanTest : public ImageTest {
 protected:
  const Device& device(const std::string& name) {
    graph = machine.scan();
    const auto at = graph.find(name);
    EXPECT_TRUE(at) << name;
    return graph[at.value_or(0)];
  }

  RecordedMachine machine{folder / "machine"};
  DeviceGraph graph;
};

TEST_F(ScanTest, ReadsDisksAndPartitionsInNaturalOrder) {
  machine.disk("sdb", 8, "pci0/usb1/1-1/host3/block");
  machine.disk("sda", 64);
  for (int i = 1; i <= 10; ++i) {
    machine.partition("sda", "sda" + std::to_string(i), static_cast<unsigned>(i), 1);
  }
  graph = machine.scan();
  std::vector<std::string> names;
  names.reserve(graph.devices.size());
  for (const Device& found : graph.devices) names.push_back(found.name);
  EXPECT_THAT(names, ElementsAre("sda", "sda1", "sda2", "sda3", "sda4", "sda5", "sda6", "sda7",
                                 "sda8", "sda9", "sda10", "sdb"));
  EXPECT_EQ(graph.host, "recorded");
  EXPECT_EQ(device("sda").bus, "ata");
  EXPECT_EQ(device("sda").model, "model of sda");
  EXPECT_EQ(device("sdb").bus, "usb");
  EXPECT_EQ(device("sda10").bus, "ata");
  EXPECT_EQ(device("sda10").start, 10U << 20U);
  EXPECT_EQ(graph[device("sda10").below.at(0)].name, "sda");
  EXPECT_EQ(device("sda10").content.kind, ContentKind::blank);
}

TEST_F(ScanTest, LeavesOutWhatHoldsNothing) {
  machine.disk("sda", 1);
  machine.disk("sdb", 0);
  machine.disk("ram0", 4);
  machine.disk("fd0", 1);
  machine.write("sys/class/block/loop0/loop/offset", "0");
  machine.write("sys/class/block/loop0/size", "8");
  graph = machine.scan();
  EXPECT_THAT(graph.devices, SizeIs(1));
}

TEST_F(ScanTest, NamesDevicesAsPeopleTypeThem) {
  machine.disk("sda", 4);
  machine.disk("cciss!c0d0", 0);
  machine.mapping("dm-0", "vg-lv", "LVM-x", 2, {"sda"},
                  "0 4096 linear " + machine.number("sda") + " 0");
  machine.mapping("dm-1", "plain", "", 2, {"sda"},
                  "0 4096 linear " + machine.number("sda") + " 4096");
  machine.link("dev/vg/lv", "../dm-0");
  machine.link("dev/disk/by-id/ata-disk", "../../sda");
  machine.link("dev/disk/by-id/elsewhere", "/etc/passwd");
  machine.link("dev/block/8:0", "../sda");
  EXPECT_EQ(device("dm-0").path, "/dev/vg/lv");
  EXPECT_THAT(device("dm-0").links, ElementsAre("/dev/mapper/vg-lv", "/dev/vg/lv"));
  EXPECT_EQ(device("dm-1").path, "/dev/mapper/plain");
  EXPECT_THAT(device("sda").links, ElementsAre("/dev/disk/by-id/ata-disk"));
}

TEST_F(ScanTest, TakesTablesAndForgetsTheirKeys) {
  machine.disk("sda", 32);
  machine.mapping("dm-0", "data", "CRYPT-LUKS2-x", 16, {"sda"},
                  "0 32768 crypt aes-xts-plain64 "
                  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff 0 " +
                      machine.number("sda") + " 32768 2 allow_discards sector_size:4096\n");
  const Segment segment = device("dm-0").table.at(0);
  EXPECT_EQ(segment.key_bytes, 32U);
  EXPECT_THAT(segment.devices, ElementsAre("sda"));
  EXPECT_THAT(segment.offsets, ElementsAre(32768));
  EXPECT_EQ(segment.sector_size, 4096U);
  EXPECT_THAT(segment.flags, ElementsAre("allow_discards"));
  EXPECT_THAT(to_json(graph), Not(HasSubstr("00112233")));
}

TEST_F(ScanTest, FindsMountsSwapsAndWhatFilesRestOn) {
  machine.disk("sda", 32);
  machine.partition("sda", "sda1", 1, 8);
  machine.partition("sda", "sda2", 9, 8);
  machine.partition("sda", "sda3", 17, 8);
  machine.write("proc/self/mountinfo", "22 1 " + machine.number("sda1") +
                                           " / /srv rw - ext4 /dev/sda1 rw\n" + "23 1 " +
                                           machine.number("sda1") +
                                           " /a /bind\\040here rw - ext4 /dev/sda1 rw\n"
                                           "24 1 0:40 / /pool rw - btrfs /dev/sda3 rw\n"
                                           "25 1 0:41 / /tmp rw - tmpfs tmpfs rw\n");
  machine.write("proc/swaps",
                "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"
                "/dev/sda2 partition\t8188\t0\t-2\n/srv/swapfile file\t8188\t0\t-3\n");
  machine.write("sys/fs/btrfs/1234/devices/sda3/dev", "");
  machine.write("sys/fs/btrfs/1234/devices/sda/dev", "");
  EXPECT_THAT(device("sda1").mounts, ElementsAre("/srv", "/bind here"));
  EXPECT_TRUE(device("sda2").swap_active);
  EXPECT_FALSE(device("sda1").swap_active);
  EXPECT_THAT(device("sda3").mounts, ElementsAre("/pool"));
  EXPECT_THAT(device("sda").mounts, ElementsAre("/pool"));
}

TEST_F(ScanTest, ReadsCrypttabAndFstab) {
  machine.disk("sda", 1);
  machine.write("etc/crypttab",
                "# comment\n\nswap /dev/sda2 /dev/urandom swap,cipher=aes-xts-plain64\n"
                "data\tUUID=1 none luks\nbroken\n");
  machine.write("etc/fstab", "# c\nUUID=2 /srv\\040x ext4 defaults 0 2\nbroken\n");
  graph = machine.scan();
  ASSERT_THAT(graph.crypttab, SizeIs(2));
  EXPECT_EQ(graph.crypttab[0].name, "swap");
  EXPECT_EQ(graph.crypttab[0].key, "/dev/urandom");
  EXPECT_EQ(graph.crypttab[0].options, "swap,cipher=aes-xts-plain64");
  EXPECT_EQ(graph.crypttab[1].source, "UUID=1");
  ASSERT_THAT(graph.fstab, SizeIs(1));
  EXPECT_EQ(graph.fstab[0].source, "UUID=2");
  EXPECT_EQ(graph.fstab[0].target, "/srv x");
}

TEST_F(ScanTest, ASuspendedMappingIsNotRead) {
  machine.disk("sda", 4);
  machine.mapping("dm-0", "stuck", "", 2, {"sda"}, "");
  machine.write("sys/class/block/dm-0/dm/suspended", "1\n");
  EXPECT_EQ(device("dm-0").content.kind, ContentKind::unreadable);
  EXPECT_THAT(device("dm-0").content.detail, HasSubstr("suspended"));
  EXPECT_THAT(device("dm-0").table, IsEmpty());
}

TEST_F(ScanTest, KnowsPartitionsByTheirTable) {
  machine.disk("sda", 16);
  run_or_throw(
      {"sh", "-c", "printf 'label: gpt\n,4M,U,\n' | sfdisk -q " + machine.node("sda").native()});
  machine.partition("sda", "sda1", 1, 4);
  EXPECT_EQ(device("sda1").partition_type, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
  EXPECT_THAT(device("sda1").partition_uuid, SizeIs(36));
}

TEST_F(ScanTest, ReadsAgainOnlyWhatMayHaveChanged) {
  const auto with_sequence = [&](const std::string& name, const std::string& number) {
    machine.write("sys/class/block/" + name + "/diskseq", number + "\n");
  };
  machine.disk("sda", 16);
  machine.partition("sda", "sda1", 1, 8);
  machine.disk("sdb", 8);
  machine.disk("sdc", 8);
  with_sequence("sda", "1");
  with_sequence("sdb", "2");
  with_sequence("sdc", "3");
  const DeviceGraph before = machine.scan();
  for (const char* name : {"sda1", "sdb", "sdc"})
    run_or_throw({"mkswap", machine.node(name).native()});

  ScanOptions options = machine.options();
  options.known = &before;
  const auto kind = [&](const std::string& name) {
    graph = scan(options);
    return graph[*graph.find(name)].content.kind;
  };
  EXPECT_EQ(kind("sdb"), ContentKind::blank);
  options.again = {"sdb"};
  EXPECT_EQ(kind("sdb"), ContentKind::swap);
  EXPECT_EQ(kind("sdc"), ContentKind::blank);
  EXPECT_EQ(kind("sda1"), ContentKind::blank);
  options.again = {"sda"};
  EXPECT_EQ(kind("sda1"), ContentKind::swap) << "it rests on what may have changed";
  with_sequence("sdc", "4");
  EXPECT_EQ(kind("sdc"), ContentKind::swap) << "another disk of the same name";
}

TEST_F(ScanTest, AnUnknownPlaceIsAnError) {
  EXPECT_THROW(scan({.sys = folder / "none"}), Error);
}

TEST_F(ScanTest, AScannedGraphIsWrittenAndReadBack) {
  machine.disk("sda", 4);
  machine.mapping("dm-0", "x", "", 2, {"sda"}, "0 4096 linear " + machine.number("sda") + " 0");
  graph = machine.scan();
  EXPECT_EQ(to_json(graph_from_json(to_json(graph))), to_json(graph));
}

}  // namespace
}  // namespace volseal
