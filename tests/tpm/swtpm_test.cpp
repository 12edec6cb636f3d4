// The fixture itself: what other tests take for granted.
#include "tests/support/swtpm.h"

#include <gtest/gtest.h>

namespace volseal::test {
namespace {

// TPM2_PCR_Read of one PCR of the SHA-256 bank; the digest are the last 32 bytes.
Bytes read_pcr(Swtpm& swtpm, unsigned pcr) {
  Bytes command = {0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 0};
  command[17 + pcr / 8] = static_cast<std::uint8_t>(1U << pcr % 8);
  Bytes response = swtpm.command(command);
  if (response.size() < 42) return response;
  return {response.end() - 32, response.end()};
}

TEST(SwtpmTest, ExtendsPcrsAndForgetsThemOverARestart) {
  Swtpm swtpm;
  const Bytes zero(32, 0);
  EXPECT_EQ(read_pcr(swtpm, 7), zero);
  swtpm.extend(7, "boot loader");
  const Bytes once = read_pcr(swtpm, 7);
  EXPECT_NE(once, zero);
  swtpm.restart();
  EXPECT_EQ(read_pcr(swtpm, 7), zero);
  swtpm.extend(7, "boot loader");
  EXPECT_EQ(read_pcr(swtpm, 7), once);
}

TEST(SwtpmTest, TwoTpmsAreTwo) {
  Swtpm first;
  Swtpm second;
  EXPECT_NE(first.tcti(), second.tcti());
  first.extend(7, "here only");
  EXPECT_NE(read_pcr(first, 7), read_pcr(second, 7));
}

TEST(SwtpmTest, StartsWithoutStartupOnRequest) {
  Swtpm swtpm;
  swtpm.restart_without_startup();
  constexpr std::uint32_t rc_initialize = 0x100;
  EXPECT_EQ(tpm_u32(read_pcr(swtpm, 7), 6), rc_initialize);
}

}  // namespace
}  // namespace volseal::test
