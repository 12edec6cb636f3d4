// What a released volseal sealed opens for ever: a TPM's state and tokens as they once were.
#include "tests/tpm/tpm_test.h"
#include "tpm/late.h"
#include "tpm/state.h"

namespace volseal::tpm {
namespace {

class CompatTest : public ::testing::Test {
 protected:
  // The n-th line of `secrets`: what the frozen group's secret is.
  static std::string secret(std::size_t n) {
    const std::string text = read_file(frozen / "secrets");
    return text.substr(n * 65, 64);
  }
  GroupKey recover(const char* sealed, const AskPin& ask_pin = {}) const {
    return TpmGroupProtector(swtpm.tcti()).recover(read_file(frozen / sealed), ask_pin);
  }

  static inline const Path frozen = Path(VOLSEAL_COMPAT) / "tpm-1";
  test::Swtpm swtpm{frozen};
};

TEST_F(CompatTest, BothApprovedStatesOpen) {
  swtpm.extend(7, "secure boot policy");
  const GroupKey first = recover("sealed.json");
  ASSERT_EQ(first.outcome, Outcome::opened) << first.reason;
  EXPECT_EQ(hex_of(first.secret).view(), secret(0));
  swtpm.extend(7, "second state");
  const GroupKey second = recover("sealed.json");
  ASSERT_EQ(second.outcome, Outcome::opened) << second.reason;
  EXPECT_EQ(hex_of(second.secret).view(), secret(0));
}

TEST_F(CompatTest, ThePinIsStretchedAsItWas) {
  swtpm.extend(7, "secure boot policy");
  swtpm.extend(7, "second state");
  const GroupKey key = recover("sealed-pin.json", pin_is("frozen pin"));
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_EQ(hex_of(key.secret).view(), secret(1));
}

TEST_F(CompatTest, TheLateCopyOpens) {
  Connection tpm = Connection::connect(swtpm.tcti());
  const GroupKey key = recover_late(tpm, GroupState(frozen, "default"));
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_EQ(hex_of(key.secret).view(), secret(0));
}

}  // namespace
}  // namespace volseal::tpm
