// What the TPM holds of the audit log, and who can change it.
#include "tpm/anchor.h"

#include "core/audit/audit.h"
#include "core/base/process.h"
#include "tests/tpm/tpm_test.h"

#include <nlohmann/json.hpp>

namespace volseal::tpm {
namespace {

class AnchorTest : public TpmTest {
 protected:
  AnchorReading read() {
    Connection tpm = connect();
    return read_anchor(tpm, state);
  }
  void write(const LogAnchor& anchor) {
    Connection tpm = connect();
    write_anchor(tpm, state, anchor);
  }
  std::string index() const {
    return fmt::format("{:#x}",
                       nlohmann::json::parse(read_file(state / "anchor.json"))["index"].get<int>());
  }
  ProcessResult tool(std::vector<std::string> argv) const {
    return run(argv, {}, {.variables = {"TPM2TOOLS_TCTI=" + swtpm.tcti()}});
  }

  static LogAnchor some(std::uint64_t size) {
    LogAnchor anchor{.size = size};
    anchor.root.fill(0xab);
    anchor.log.fill(0x17);
    return anchor;
  }
};

TEST_F(AnchorTest, WhatWasWrittenIsHeldOverARestart) {
  EXPECT_EQ(read().state, AnchorState::none);
  EXPECT_FALSE(has_anchor(state));
  write(some(1000));
  reboot();
  EXPECT_EQ(read().anchor, some(1000));
  write(some(0x0102030405060708));
  EXPECT_EQ(read().anchor, some(0x0102030405060708));
  EXPECT_EQ(leaked_handles(), 0U);
}

TEST_F(AnchorTest, NeitherTheOwnerNorAnybodyReadsOrWritesIt) {
  write(some(5));
  EXPECT_NE(tool({"tpm2_nvread", "-C", "o", index()}).status, 0);
  EXPECT_NE(tool({"tpm2_nvread", index()}).status, 0);
  write_file(state / "data", std::string(56, 'x'));
  EXPECT_NE(tool({"tpm2_nvwrite", "-C", "o", "-i", (state / "data").native(), index()}).status, 0);
  EXPECT_NE(tool({"tpm2_nvwrite", "-i", (state / "data").native(), index()}).status, 0);
  EXPECT_EQ(read().anchor, some(5));
}

TEST_F(AnchorTest, OneThatIsGoneIsSaidAndNotMadeAnewByItself) {
  write(some(5));
  ASSERT_EQ(tool({"tpm2_nvundefine", "-C", "o", index()}).status, 0);
  EXPECT_EQ(read().state, AnchorState::gone);
  EXPECT_EQ(error_of([&] { write(some(6)); }).code(), Code::tampered);
  {
    Connection tpm = connect();
    forget_anchor(tpm, state);
  }
  write(some(6));
  EXPECT_EQ(read().anchor, some(6));
}

TEST_F(AnchorTest, OneThatWasReplacedIsSaid) {
  write(some(5));
  const std::string there = index();
  ASSERT_EQ(tool({"tpm2_nvundefine", "-C", "o", there}).status, 0);
  // The same attributes, so the same name; another auth value.
  ASSERT_EQ(tool({"tpm2_nvdefine", "-C", "o", "-s", "56", "-p", "other", "-a",
                  "authread|authwrite|no_da", there})
                .status,
            0);
  write_file(state / "data", std::string(56, 'x'));
  ASSERT_EQ(tool({"tpm2_nvwrite", "-P", "other", "-i", (state / "data").native(), there}).status,
            0);
  EXPECT_EQ(read().state, AnchorState::replaced);
  EXPECT_EQ(error_of([&] { write(some(6)); }).code(), Code::tampered);
  EXPECT_EQ(leaked_handles(), 0U);
}

TEST_F(AnchorTest, TheAuthValueIsRootOnlyAndStaysOffTheBus) {
  swtpm.proxy().take_exchanges();
  write(some(5));
  const std::string auth = read_file(state / "anchor.auth");
  EXPECT_EQ(auth.size(), 32U);
  for (const auto& exchange : swtpm.proxy().take_exchanges()) {
    const std::string bytes(exchange.command.begin(), exchange.command.end());
    EXPECT_EQ(bytes.find(auth), std::string::npos);
    // Nor what is written.
    EXPECT_EQ(bytes.find(std::string(32, '\xab')), std::string::npos);
  }
  const auto mode = std::filesystem::status(state / "anchor.auth").permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

class AnchorVerbTest : public AnchorTest {
 protected:
  AnchorVerbTest() {
    write_file(state / "policy.toml", "");
    for (int i = 0; i < 3; ++i) record();
  }

  void record() const { AuditLog(state / "audit.log", "test").record({.action = "unlock"}); }

  ProcessResult volseal(const std::vector<std::string>& arguments) const {
    std::vector<std::string> argv = {
        VOLSEAL_BINARY, "--tcti",       swtpm.tcti(), "--policy", (state / "policy.toml").native(),
        "--state",      state.native(), "audit"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return run(argv);
  }
  nlohmann::json verify() const {
    return nlohmann::json::parse(volseal({"verify", "--json"}).output);
  }
  std::size_t nv_writes() {
    std::size_t count = 0;
    for (const auto& exchange : swtpm.proxy().take_exchanges()) {
      constexpr std::uint32_t nv_write = 0x137;
      count += exchange.command_code() == nv_write ? 1 : 0;
    }
    return count;
  }
};

TEST_F(AnchorVerbTest, TheNewestCheckpointIsHeldAndComparedWith) {
  EXPECT_EQ(verify()["tpm"]["state"], "none");
  ASSERT_EQ(volseal({"checkpoint"}).status, 0) << volseal({"checkpoint"}).output;
  EXPECT_EQ(verify()["tpm"]["lines"], 3);
  EXPECT_EQ(volseal({"verify"}).status, 0);
  EXPECT_EQ(leaked_handles(), 0U);
}

TEST_F(AnchorVerbTest, AStateThatWasPutBackAsAWholeIsFound) {
  ASSERT_EQ(volseal({"checkpoint"}).status, 0);
  const Path saved = Path(state.native() + ".saved");
  std::filesystem::copy(state, saved, std::filesystem::copy_options::recursive);
  record();
  ASSERT_EQ(volseal({"checkpoint", "--now"}).status, 0);
  EXPECT_EQ(verify()["tpm"]["lines"], 4);
  // Log, checkpoints, key and all, from a backup: each fits the others.
  std::filesystem::remove_all(state);
  std::filesystem::rename(saved, state);
  const ProcessResult said = volseal({"verify"});
  EXPECT_EQ(said.status, 5);
  EXPECT_THAT(said.output, ::testing::HasSubstr("by the TPM it has had 4"));
  // It is not forgotten by the next checkpoint either.
  EXPECT_EQ(volseal({"checkpoint", "--now"}).status, 1);
  EXPECT_EQ(verify()["tpm"]["lines"], 4);
  // Only by who says why, and then the log has it.
  EXPECT_EQ(volseal({"checkpoint", "--new-anchor", "restored from backup"}).status, 0);
  EXPECT_EQ(volseal({"verify"}).status, 0) << volseal({"verify"}).output;
  EXPECT_EQ(read_audit_log(state / "audit.log").records.back().event.detail.at("reason"),
            "restored from backup");
}

TEST_F(AnchorVerbTest, WritesAreFew) {
  swtpm.proxy().take_exchanges();
  for (int i = 0; i < 4; ++i) {
    record();
    EXPECT_EQ(volseal({"checkpoint"}).status, 0);
  }
  EXPECT_EQ(nv_writes(), 1U);
  for (int i = 0; i < 30; ++i) {
    record();
    EXPECT_EQ(volseal({"checkpoint", "--now"}).status, 0);
  }
  EXPECT_EQ(nv_writes(), 23U);
  EXPECT_EQ(volseal({"verify"}).status, 0);
}

TEST_F(AnchorVerbTest, ATpmThatIsGoneIsSaid) {
  ASSERT_EQ(volseal({"checkpoint"}).status, 0);
  ASSERT_EQ(tool({"tpm2_clear", "-c", "p"}).status, 0);
  EXPECT_EQ(verify()["tpm"]["state"], "gone");
  EXPECT_EQ(volseal({"verify"}).status, 5);
  swtpm.stop();
  EXPECT_EQ(verify()["tpm"]["state"], "unreachable");
  EXPECT_EQ(volseal({"verify"}).status, 1);
  record();
  EXPECT_EQ(volseal({"checkpoint", "--now"}).status, 1);
}

}  // namespace
}  // namespace volseal::tpm
