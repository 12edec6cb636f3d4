#include "core/discover/mapper.h"
#include "core/discover/sysfs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string name_of(std::uint32_t major, std::uint32_t minor) {
  return major == 8 ? "sd" + std::string(1, static_cast<char>('a' + minor)) : "";
}

Segment segment(std::string_view target, std::string_view parameters) {
  return parse_segment(0, 8, target, parameters, name_of);
}

TEST(MapperTable, MeasuresKeysWhereTheyLie) {
  EXPECT_EQ(
      segment("crypt", "aes-cbc-essiv:sha256 00112233445566778899aabbccddeeff 0 8:0 0").key_bytes,
      16U);
  const Segment keyring =
      segment("crypt", "aes-xts-plain64 :64:logon:cryptsetup:1234-d0 0 8:1 32768");
  EXPECT_TRUE(keyring.key_in_keyring);
  EXPECT_EQ(keyring.key_bytes, 64U);
  EXPECT_EQ(keyring.cipher, "aes-xts-plain64");
  EXPECT_THAT(keyring.devices, ElementsAre("sdb"));
  EXPECT_EQ(segment("crypt", "cipher_null-ecb - 0 8:0 0").key_bytes, 0U);
}

TEST(MapperTable, ReadsIntegrityAndFlags) {
  const Segment crypt = segment("crypt",
                                "capi:authenc(hmac(sha256),xts(aes))-random :96:logon:x 0 8:0 0 3 "
                                "integrity:48:aead sector_size:4096 no_read_workqueue");
  EXPECT_EQ(crypt.integrity, "aead");
  EXPECT_EQ(crypt.sector_size, 4096U);
  EXPECT_THAT(crypt.flags, ElementsAre("no_read_workqueue"));
}

TEST(MapperTable, KnowsTheDevicesOfEveryTarget) {
  EXPECT_THAT(segment("striped", "2 128 8:0 384 8:1 400").devices, ElementsAre("sda", "sdb"));
  EXPECT_THAT(segment("striped", "2 128 8:0 384 8:1 400").offsets, ElementsAre(384, 400));
  EXPECT_THAT(segment("linear", "8:2 2048").offsets, ElementsAre(2048));
  EXPECT_THAT(segment("cache", "8:0 8:1 8:2 128 1 writethrough smq 0").devices,
              ElementsAre("sda", "sdb", "sdc"));
  EXPECT_THAT(segment("thin-pool", "8:0 8:1 128 0").devices, ElementsAre("sda", "sdb"));
  EXPECT_THAT(segment("raid", "raid1 3 0 region_size 1024 2 8:0 8:1 - 8:2").devices,
              ElementsAre("sda", "sdb", "sdc"));
  EXPECT_THAT(segment("snapshot", "8:0 8:1 P 16").devices, ElementsAre("sda", "sdb"));
  EXPECT_THAT(
      segment("multipath", "0 0 2 1 service-time 0 1 2 8:0 1 1 service-time 0 1 2 8:1 1 1").devices,
      ElementsAre("sda", "sdb"));
}

TEST(MapperTable, SurvivesLinesThatAreCutOff) {
  for (const char* line : {"", " ", "aes", "aes :", "aes ::", "aes : 0 8",
                           "aes - 0 8: 0 x integrity:", "aes - 0 :0 0 1 integrity:5",
                           "aes - 0 99999999999:0 0", "aes - 0 8:0 0 1 sector_size:"}) {
    segment("crypt", line);
    segment("linear", line);
  }
  EXPECT_THAT(segment("linear", "8:0").offsets, ElementsAre(0));
  EXPECT_THAT(segment("error", "").devices, IsEmpty());
}

TEST(Sysfs, KnowsBusesByTheirPlace) {
  EXPECT_EQ(sysfs::bus_of("/sys/devices/pci0/ata1/host0/target0/block/sda"), "ata");
  EXPECT_EQ(sysfs::bus_of("/sys/devices/pci0/usb2/2-1/host5/block/sdb"), "usb");
  EXPECT_EQ(sysfs::bus_of("/sys/devices/platform/host3/session1/target/block/sdc"), "iscsi");
  EXPECT_EQ(sysfs::bus_of("/sys/devices/pci0/nvme/nvme0/nvme0n1"), "nvme");
  EXPECT_EQ(sysfs::bus_of("/sys/devices/pci0/virtio2/block/vda"), "virtio");
  EXPECT_EQ(sysfs::bus_of("/sys/devices/pci0/mmc_host/mmc0/block/mmcblk0"), "mmc");
  EXPECT_EQ(sysfs::bus_of("/sys/devices/virtual/block/dm-0"), "");
}

}  // namespace
}  // namespace volseal
