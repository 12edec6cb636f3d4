#include "core/base/error.h"
#include "core/unlock/boot_list.h"
#include "core/unlock/boot_report.h"
#include "initramfs-hook/ciphers.h"
#include "initramfs-hook/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace volseal {
namespace {

using ::testing::ElementsAre;

const BootList example = {
    .latches = {15},
    .fido2 = true,
    .volumes = {{.mapping = "root",
                 .luks_uuid = "0a1b",
                 .wanted = Wanted::root,
                 .cipher = "aes-xts-plain64",
                 .options = "luks,discard"},
                {.mapping = "da ta\\", .luks_uuid = "2c3d", .wanted = Wanted::data}}};

TEST(BootList, ComesBackAsItWasWritten) {
  const BootList read = parse_boot_list(to_text(example));
  EXPECT_THAT(read.latches, ElementsAre(15));
  EXPECT_TRUE(read.fido2);
  ASSERT_EQ(read.volumes.size(), 2U);
  EXPECT_EQ(read.volumes[0].mapping, "root");
  EXPECT_EQ(read.volumes[0].wanted, Wanted::root);
  EXPECT_EQ(read.volumes[0].cipher, "aes-xts-plain64");
  EXPECT_EQ(read.volumes[0].options, "luks,discard");
  EXPECT_EQ(read.volumes[1].mapping, "da ta\\");
  EXPECT_EQ(read.volumes[1].luks_uuid, "2c3d");
  EXPECT_EQ(read.volumes[1].options, "");
}

TEST(BootList, IsPlainWordsForAShellScript) {
  EXPECT_THAT(to_text(example),
              ::testing::HasSubstr("volume root 0a1b root aes-xts-plain64 luks,discard\n"
                                   "volume da\\040ta\\134 2c3d data - -\n"));
}

class BrokenBootList : public ::testing::TestWithParam<std::string> {};

TEST_P(BrokenBootList, IsRefused) {
  try {
    parse_boot_list(GetParam());
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::damaged);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Lines, BrokenBootList,
    ::testing::Values("latch\n", "fido2 yes\n", "latch 24\n", "latch -1\n", "latch 1x\n",
                      "latch 1 2\n", "volume root 0a1b root aes\n",
                      "volume root 0a1b nothing aes -\n", "volume ../sda 0a1b root aes -\n",
                      "volume - 0a1b root aes -\n", "volume root - root aes -\n",
                      "volume r\\9 0a1b root aes -\n", "volume r\\777 0a1b root aes -\n",
                      "volume r\\ 0a1b root aes -\n", "volume  root 0a1b root aes -\n",
                      "open root\n", " \n"));

TEST(BootOptions, AreFlagsOfCrypttabAndNothingElse) {
  const ActivateOptions options = activate_options("luks,discard,no-read-workqueue");
  EXPECT_TRUE(options.discard);
  EXPECT_TRUE(options.no_read_workqueue);
  EXPECT_FALSE(options.no_write_workqueue);
  EXPECT_FALSE(options.read_only);
  EXPECT_FALSE(has_option("luks,nodiscard", "discard"));
  EXPECT_TRUE(has_option("nofail", "nofail"));
}

TEST(KernelCiphers, AreNamedAsTheKernelNamesThem) {
  BootList list = example;
  list.volumes[1].cipher = "serpent-cbc-essiv:sha256";
  EXPECT_THAT(kernel_ciphers(list), ElementsAre("cbc(serpent)", "xts(aes)"));
}

TEST(KernelCiphers, AreLeftToDmCryptWhereTheListSaysThemOtherwise) {
  BootList list = example;
  list.volumes[0].cipher = "capi:xts(aes)-plain64";
  for (const char* cipher : {"", "aes", "aes-xts", "-", "--"}) {
    list.volumes[1].cipher = cipher;
    EXPECT_LE(kernel_ciphers(list).size(), 1U) << cipher;
  }
  list.volumes[1].cipher = "aes-xts";
  EXPECT_TRUE(kernel_ciphers(list).empty());
}

TEST(BootSettings, KeepTheirDefaultsWhereALineMakesNoSense) {
  const BootSettings settings = parse_boot_settings(
      "# a comment\nON_REFUSAL=explode\nTRIES=-3\nWAIT=forever\nNEWER=thing\nTCTI\n");
  EXPECT_EQ(settings.on_refusal, Stop::shell);
  EXPECT_EQ(settings.tries, BootSettings().tries);
  EXPECT_EQ(settings.wait, BootSettings().wait);
  EXPECT_EQ(settings.tcti, "");
}

TEST(BootSettings, AreReadAsAShellReadsThem) {
  const BootSettings settings =
      parse_boot_settings("ON_REFUSAL='reboot'\nTRIES=0\nWAIT=\"25\"\nTCTI=device:/dev/tpm1");
  EXPECT_EQ(settings.on_refusal, Stop::reboot);
  EXPECT_EQ(settings.tries, 1) << "one try there must be";
  EXPECT_EQ(settings.wait, std::chrono::seconds(25));
  EXPECT_EQ(settings.tcti, "device:/dev/tpm1");
}

TEST(BootReportTest, ComesBackAsItWasWritten) {
  BootReport report;
  report.boot_id = "b";
  report.began = std::chrono::milliseconds(900);
  report.ended = std::chrono::milliseconds(1200);
  report.parts = {{"devices", std::chrono::milliseconds(20)}};
  report.attempts = {{.device = "/dev/sda",
                      .mapping = "root",
                      .protector = "tpm",
                      .outcome = Outcome::policy_mismatch,
                      .reason = "PCR 7 is not as approved"},
                     {.device = "/dev/sda",
                      .mapping = "root",
                      .protector = "recovery-key",
                      .outcome = Outcome::opened,
                      .keyslot = 2,
                      .findings = {"keyslot 3 was added"}}};
  report.missing = {"data"};
  report.latch = "closed";
  report.refusal = "PCR 7 is not as approved";
  const BootReport read = boot_report_from_json(to_json(report));
  EXPECT_EQ(to_json(read), to_json(report));
  EXPECT_EQ(read.attempts[1].keyslot, 2);
  EXPECT_EQ(read.attempts[0].outcome, Outcome::policy_mismatch);
  EXPECT_EQ(how_opened(read), "recovery-key");
}

TEST(BootReportTest, OfAnotherKindIsDamaged) {
  for (const std::string text : {"", "{}", "[]", R"({"schema":"volseal-boot/2"})"}) {
    EXPECT_THROW(boot_report_from_json(text), Error) << text;
  }
}

}  // namespace
}  // namespace volseal
