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

}  // namespace
}  // namespace volseal
