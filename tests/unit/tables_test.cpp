#include "core/tables/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

namespace volseal {
namespace {

constexpr std::string_view crypttab =
    "# <target name> <source device> <key file> <options>\n"
    "\n"
    "root   UUID=aaaa  none  luks,discard   # not ours\n"
    "broken\n"
    "swap\t/dev/sdb2\t/dev/urandom\tswap,cipher=aes-xts-plain64";

TEST(Crypttab, EntriesAreReadAndOtherLinesPassedOver) {
  const auto entries = parse_crypttab(crypttab);
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].name, "root");
  EXPECT_EQ(entries[0].options, "luks,discard");
  EXPECT_EQ(entries[1].key, "/dev/urandom");
  EXPECT_EQ(parse_crypttab("data\\0401 UUID=b").at(0).name, "data 1");
}

TEST(Crypttab, ANewEntryGoesToTheEndAndNothingElseChanges) {
  EXPECT_EQ(
      with_crypttab_entry(
          crypttab, {.name = "data", .source = "UUID=bbbb", .key = "none", .options = "luks"}),
      std::string(crypttab) + "\ndata UUID=bbbb none luks\n");
  EXPECT_EQ(with_crypttab_entry("", {.name = "data", .source = "UUID=b", .key = "", .options = ""}),
            "data UUID=b none luks\n");
}

TEST(Crypttab, AnEntryOfThatNameIsReplacedWhereItStands) {
  const std::string once = with_crypttab_entry(
      crypttab, {.name = "swap", .source = "UUID=c", .key = "none", .options = "luks"});
  EXPECT_THAT(once, ::testing::HasSubstr("broken\nswap UUID=c none luks"));
  EXPECT_EQ(with_crypttab_entry(
                once, {.name = "swap", .source = "UUID=c", .key = "none", .options = "luks"}),
            once);
}

TEST(Crypttab, AnEntryIsRemovedWithItsLine) {
  EXPECT_EQ(without_crypttab_entry("# a\nx UUID=1\ny UUID=2\n", "x"), "# a\ny UUID=2\n");
  EXPECT_EQ(without_crypttab_entry("y UUID=2", "x"), "y UUID=2");
}

TEST(Fstab, OnlyTheSourceOfMatchingLinesChanges) {
  const std::string fstab =
      "# /dev/sdb1 was here\n"
      "UUID=1  /      ext4  defaults 0 1\n"
      "/dev/sdb1   /srv\\040data\text4  noatime 0 2  # fast\n"
      "PARTUUID=77 /mnt ext4 ro 0 0\n";
  EXPECT_EQ(
      with_fstab_source(fstab, {"/dev/sdb1", "/dev/disk/by-partuuid/77", "/dev/disk/by-uuid/1"},
                        "/dev/mapper/data"),
      "# /dev/sdb1 was here\n"
      "UUID=1  /      ext4  defaults 0 1\n"
      "/dev/mapper/data   /srv\\040data\text4  noatime 0 2  # fast\n"
      "/dev/mapper/data /mnt ext4 ro 0 0\n");
}

TEST(Fstab, ANewMountIsAddedOnce) {
  const FstabEntry entry{
      .source = "/dev/mapper/data", .target = "/srv/new data", .type = "ext4", .options = ""};
  const std::string once = with_fstab_entry("UUID=1 / ext4 defaults 0 1", entry);
  EXPECT_EQ(once,
            "UUID=1 / ext4 defaults 0 1\n/dev/mapper/data /srv/new\\040data ext4 defaults 0 2\n");
  EXPECT_EQ(with_fstab_entry(once, entry), once);
  EXPECT_EQ(with_fstab_entry("/dev/sdb1 /srv/new\\040data xfs noatime 0 0\n", entry),
            "/dev/mapper/data /srv/new\\040data ext4 noatime 0 0\n");
}

const Path data = Path(VOLSEAL_TEST_DATA) / "tables";

TEST(Tables, AnFstabOfAServerKeepsItsLooks) {
  std::string text = read_file(data / "fstab.before");
  text = with_fstab_source(
      text, {"/dev/vdb1", "/dev/disk/by-partuuid/0c1d2e3f-0002-4000-8000-000000000001"},
      "/dev/mapper/data");
  text = with_fstab_source(text, {"/dev/dm-1", "/dev/vg0/files", "/dev/mapper/vg0-files"},
                           "/dev/mapper/srv-files");
  text = with_fstab_source(text,
                           {"/dev/vdb2", "/dev/disk/by-uuid/d4e6f80a-1b2c-4d3e-9f40-5162738495a6"},
                           "/dev/mapper/swap");
  text = with_fstab_entry(text, {.source = "/dev/mapper/more",
                                 .target = "/srv/more room",
                                 .type = "ext4",
                                 .options = "defaults"});
  EXPECT_EQ(text, read_file(data / "fstab.after"));
}

TEST(Tables, ACrypttabOfAServerKeepsItsLooks) {
  std::string text = read_file(data / "crypttab.before");
  text = with_crypttab_entry(text, {.name = "cryptswap",
                                    .source = "UUID=22bb33cc-44dd-4eee-8fff-001122334455",
                                    .key = "none",
                                    .options = "luks"});
  text = with_crypttab_entry(text, {.name = "data",
                                    .source = "UUID=11aa22bb-33cc-44dd-8eee-ff0011223344",
                                    .key = "none",
                                    .options = "luks"});
  text = without_crypttab_entry(text, "old disk");
  EXPECT_EQ(text, read_file(data / "crypttab.after"));
}

TEST(Tables, AMountPointOfNoneIsNotAPlace) {
  const std::string fstab = "/dev/sda2 none swap sw 0 0\n";
  EXPECT_EQ(
      with_fstab_entry(
          fstab, {.source = "/dev/mapper/swap", .target = "none", .type = "swap", .options = "sw"}),
      fstab + "/dev/mapper/swap none swap sw 0 0\n");
}

TEST(Tables, ALinkStaysALinkAndModesStay) {
  std::string pattern = (std::filesystem::temp_directory_path() / "volseal-tables.XXXXXX").native();
  const Path folder = ::mkdtemp(pattern.data());
  write_file(folder / "real", "x UUID=1\n", 0600);
  std::filesystem::create_symlink("real", folder / "crypttab");
  save_table(folder / "crypttab", "y UUID=2\n");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "crypttab"));
  EXPECT_EQ(read_file(folder / "real"), "y UUID=2\n");
  EXPECT_EQ(read_file(folder / "crypttab.volseal-old"), "x UUID=1\n");
  EXPECT_EQ(std::filesystem::status(folder / "crypttab.volseal-old").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::remove_all(folder);
}

TEST(Tables, TheOldTableIsKeptOnceAChange) {
  std::string pattern = (std::filesystem::temp_directory_path() / "volseal-tables.XXXXXX").native();
  const Path folder = ::mkdtemp(pattern.data());
  const Path table = folder / "crypttab";
  const CrypttabEntry entry{.name = "data", .source = "UUID=b", .key = "none", .options = "luks"};
  add_to_crypttab(table, entry);
  EXPECT_FALSE(std::filesystem::exists(folder / "crypttab.volseal-old"));
  add_to_crypttab(table, {.name = "more", .source = "UUID=c", .key = "none", .options = "luks"});
  add_to_crypttab(table, entry);  // no change
  EXPECT_EQ(read_file(folder / "crypttab.volseal-old"), "data UUID=b none luks\n");
  EXPECT_EQ(read_file(table), "data UUID=b none luks\nmore UUID=c none luks\n");
  std::filesystem::remove_all(folder);
}

TEST(Fstab, LinesAreHeldBackAndComeBackAsTheyWere) {
  const std::string fstab =
      "# kept\n"
      "/dev/mapper/data\t/srv  ext4 noatime,nofail 0 2\n"
      "UUID=\"12\" /mnt xfs defaults 0 0 # why\n"
      "UUID=13 / ext4 defaults 0 1\n";
  const std::vector<std::string> sources = {"/dev/mapper/data", "UUID=12"};
  const std::string held = with_fstab_hold(fstab, sources);
  EXPECT_EQ(held,
            "# kept\n"
            "/dev/mapper/data\t/srv  ext4 noatime,nofail,noauto,x-volseal.decrypting 0 2\n"
            "UUID=\"12\" /mnt xfs defaults,noauto,x-volseal.decrypting 0 0 # why\n"
            "UUID=13 / ext4 defaults 0 1\n");
  EXPECT_EQ(with_fstab_hold(held, sources), held);
  EXPECT_EQ(without_fstab_hold(held), fstab);
  EXPECT_EQ(without_fstab_hold(fstab), fstab);
  // An option that somebody added meanwhile stays.
  EXPECT_EQ(without_fstab_hold("a /b c d,noauto,x-volseal.decrypting,e 0 0"), "a /b c d,e 0 0");
}

}  // namespace
}  // namespace volseal
