// What changed, in words: parsing, replaying and comparing the firmware's log.
#include "tests/tpm/measured_boot.h"
#include "tests/tpm/tpm_test.h"
#include "tpm/approval.h"
#include "tpm/explain.h"
#include "tpm/policy_digest.h"

#include <sstream>

namespace volseal::tpm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::span<const std::uint8_t> bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

class EventLogTest : public TpmTest {
 protected:
  EventLogTest() {
    group.tpm.pcrs = {0, 4, 7};
    swtpm.restart();
    start({});
  }

  void start(const DebianBoot& machine) {
    const std::string log = machine.in(swtpm).log();
    write_file(log_path(), log);
  }
  void restart(const DebianBoot& machine) {
    swtpm.restart();
    start(machine);
  }

  Path log_path() const { return state / "binary_bios_measurements"; }
  ConnectOptions options() const {
    ConnectOptions options;
    options.event_log = log_path();
    return options;
  }
  OpenedGroup make() {
    Connection tpm = Connection::connect(swtpm.tcti(), options());
    return open_or_create_group(tpm, group, state);
  }
  std::string refusal(const std::string& sealed) {
    const GroupKey key = TpmGroupProtector(swtpm.tcti(), options()).recover(sealed, {});
    EXPECT_EQ(key.outcome, Outcome::policy_mismatch);
    return key.reason;
  }
};

TEST_F(EventLogTest, ReplayingBothFormatsLeadsToWhatThePcrsHold) {
  Connection tpm = Connection::connect(swtpm.tcti());
  const std::string agile = read_file(log_path());
  const EventLog log = parse_event_log(bytes(agile));
  EXPECT_THAT(log.banks, ElementsAre("sha1", "sha256", "sha384", "sha512"));
  for (const char* bank : {"sha256", "sha384", "sha512"})
    EXPECT_EQ(replay(log, bank), read_pcrs(tpm, bank, {0, 4, 7})) << bank;

  test::Swtpm other;
  const std::string old_format = DebianBoot{}.in(other, LogFormat::sha1_only).log();
  const EventLog old_log = parse_event_log(bytes(old_format));
  EXPECT_THAT(old_log.banks, ElementsAre("sha1"));
  EXPECT_EQ(replay(old_log, "sha1"), replay(log, "sha1"));
  EXPECT_EQ(replay(old_log, "sha256"), PcrValues{});
}

// Debian's OVMF with Microsoft's keys, a Linux kernel with an initramfs, a TPM over CRB: the log as
// that kernel showed it, and what it read from the PCRs.
TEST(RealEventLogTest, OvmfsLogLeadsToWhatThePcrsHeld) {
  const Path data = Path(VOLSEAL_TPM_DATA);
  const std::string text = read_file(data / "ovmf-secure-boot.log");
  const EventLog log = parse_event_log(bytes(text));
  const PcrValues values = replay(log, "sha256");
  std::istringstream pcrs(read_file(data / "ovmf-secure-boot.pcrs"));
  int pcr = 0;
  std::string hex;
  int compared = 0;
  while (pcrs >> pcr >> hex) {
    const Bytes held = from_hex(hex).value_or(Bytes{});
    if (unmeasured(held)) {
      EXPECT_FALSE(values.contains(pcr)) << pcr;
      continue;
    }
    ASSERT_TRUE(values.contains(pcr)) << pcr;
    EXPECT_EQ(values.at(pcr), held) << pcr;
    ++compared;
  }
  EXPECT_EQ(compared, 9);

  SealedGroup sealed;
  sealed.bank = "sha256";
  sealed.pcrs = {4, 7};
  sealed.events = event_prefixes(log, sealed);
  EventLog updated = log;
  for (Event& event : updated.events) {
    if (describe(event) != "dbx") continue;
    event.data.back() ^= 1U;
    event.digests["sha256"] = sha256({event.data});
  }
  EXPECT_THAT(changes_of(sealed, 7, {}, updated), ElementsAre("dbx was updated"));
  EXPECT_THAT(changes_of(sealed, 4, {}, updated), ::testing::IsEmpty());
}

TEST_F(EventLogTest, AChangeIsNamedInAnotherBankToo) {
  group.tpm.bank = "sha384";
  const OpenedGroup made = make();
  restart({.dbx = "revocation list of June"});
  EXPECT_EQ(refusal(made.sealed), "PCR 7 is not as approved: dbx was updated");
}

TEST_F(EventLogTest, TheStartupLocalityIsWherePcr0Begins) {
  std::string log = read_file(log_path());
  const auto add = [&](std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i, value >>= 8U) log += static_cast<char>(value & 0xffU);
  };
  const PcrValues before = replay(parse_event_log(bytes(log)), "sha256");
  add(0, 4);
  add(3, 4);
  add(0, 4);
  add(17, 4);
  log += "StartupLocality";
  log += std::string("\0\x03", 2);
  const PcrValues after = replay(parse_event_log(bytes(log)), "sha256");
  EXPECT_NE(before.at(0), after.at(0));
  EXPECT_EQ(before.at(7), after.at(7));
}

TEST_F(EventLogTest, ALogThatIsCutAnywhereIsDamagedOrShorter) {
  const std::string log = read_file(log_path());
  const std::size_t whole = parse_event_log(bytes(log)).events.size();
  for (std::size_t size = 0; size < log.size(); ++size) {
    try {
      EXPECT_LT(parse_event_log(bytes(log.substr(0, size))).events.size(), whole);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::damaged);
    }
  }
}

TEST_F(EventLogTest, NamesTheVariableThatWasUpdated) {
  const OpenedGroup made = make();
  restart({.dbx = "revocation list of June"});
  EXPECT_EQ(refusal(made.sealed), "PCR 7 is not as approved: dbx was updated");
  restart({.secure_boot = std::string(1, '\0')});
  EXPECT_EQ(refusal(made.sealed), "PCR 7 is not as approved: Secure Boot was turned off");
}

TEST_F(EventLogTest, NamesTheBootLoaderWithItsPath) {
  const OpenedGroup made = make();
  restart({.shim = "shim 15.8"});
  EXPECT_EQ(refusal(made.sealed),
            "PCR 4 is not as approved: a different boot loader, \\EFI\\debian\\shimx64.efi");
  restart(
      {.dbx = "revocation list of June", .shim_path = "\\EFI\\BOOT\\BOOTX64.EFI", .shim = "evil"});
  EXPECT_EQ(
      refusal(made.sealed),
      "PCRs 4 and 7 are not as approved; PCR 4: a different boot loader, \\EFI\\BOOT\\BOOTX64.EFI; "
      "PCR 7: dbx was updated");
}

TEST_F(EventLogTest, AFirmwareUpdateIsCalledThat) {
  const OpenedGroup made = make();
  restart({.firmware = "firmware 1.1"});
  EXPECT_EQ(refusal(made.sealed), "PCR 0 is not as approved: the firmware changed");
}

TEST_F(EventLogTest, ALogThatDoesNotLeadToThePcrIsNotTrusted) {
  const OpenedGroup made = make();
  restart({.dbx = "revocation list of June"});
  swtpm.extend(7, "something that the log does not say");
  EXPECT_THAT(refusal(made.sealed), HasSubstr("cannot be trusted"));
  EXPECT_THAT(refusal(made.sealed), Not(HasSubstr("dbx")));
}

TEST_F(EventLogTest, ANameThatIsNotWhatWasMeasuredIsSaidToBeNone) {
  const OpenedGroup made = make();
  restart({.dbx = "revocation list of June"});
  std::string log = read_file(log_path());
  // The measured data stays in the digests; the log now tells another story.
  const std::string name("d\0b\0x\0", 6);
  const auto at = log.find(name);
  ASSERT_NE(at, std::string::npos);
  log.replace(at, name.size(), std::string("t\0o\0y\0", 6));
  write_file(log_path(), log);
  EXPECT_THAT(refusal(made.sealed), HasSubstr("is not what was measured"));
}

TEST_F(EventLogTest, WithoutALogThePcrIsStillNamedWithItsPurpose) {
  const OpenedGroup made = make();
  restart({.dbx = "revocation list of June"});
  std::filesystem::remove(log_path());
  EXPECT_EQ(refusal(made.sealed), "PCR 7 is not as approved (Secure Boot policy)");
  write_file(log_path(), "garbage");
  EXPECT_EQ(refusal(made.sealed), "PCR 7 is not as approved (Secure Boot policy)");
}

TEST_F(EventLogTest, TheKeptLogNamesWhatIsGone) {
  const OpenedGroup made = make();
  swtpm.restart();
  MeasuredBoot shorter(swtpm);
  shorter.measure(0, 0x8, "firmware 1.0", "firmware 1.0");
  shorter.variable(7, ev_variable_driver_config, "SecureBoot", std::string(1, '\x01'));
  write_file(log_path(), shorter.log());
  Connection tpm = Connection::connect(swtpm.tcti(), options());
  const Explanation explanation =
      explain(tpm, parse_sealed(made.sealed), approved_event_log(GroupState(state, "default")));
  ASSERT_FALSE(explanation.differences.empty());
  const auto pcr7 = std::ranges::find(explanation.differences, 7, &PcrDifference::pcr);
  ASSERT_NE(pcr7, explanation.differences.end());
  EXPECT_THAT(pcr7->changes, ::testing::Contains("PK is no longer measured"));
}

TEST_F(EventLogTest, WhatTheLogSaysIsEscaped) {
  const OpenedGroup made = make();
  restart({.shim_path = "\\EFI\\\x1b[2Jevil", .shim = "evil"});
  EXPECT_THAT(refusal(made.sealed), HasSubstr("\\EFI\\\\x1b[2Jevil"));
}

TEST_F(EventLogTest, HundredsOfEventsStillFitIntoAToken) {
  group.tpm.pcrs = {0, 4, 7, 8};
  MeasuredBoot more(swtpm);
  std::string log = read_file(log_path());
  const std::size_t header = more.log().size();
  for (int i = 0; i < 500; ++i) {
    const std::string line = "grub_cmd: line " + std::to_string(i);
    more.measure(8, 0xd, line, line);
  }
  write_file(log_path(), log + more.log().substr(header));
  const OpenedGroup made = make();
  EXPECT_LE(made.sealed.size(), SealedGroup::max_text);
  restart({.dbx = "revocation list of June"});
  // The PCR with too many events is only named; the others are still explained.
  EXPECT_THAT(refusal(made.sealed), HasSubstr("PCR 7: dbx was updated"));
}

}  // namespace
}  // namespace volseal::tpm
