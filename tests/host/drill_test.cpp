// Drills: every keyslot opens, nothing is mapped, and who did it when is remembered.
#include "core/drill/drill.h"

#include "core/luks/volume.h"
#include "tests/support/softkey/key_cli_test.h"
#include "tests/support/swtpm.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace volseal {
namespace {

using test::PluggedKey;
using test::Result;
using test::Terminal;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class DrillVerbTest : public test::KeyCliTest {
 protected:
  DrillVerbTest() {
    swtpm.extend(7, "firmware");
    tcti = swtpm.tcti();
    key.set_pin("1234");
    write_file(folder / "policy.toml",
               "[group.default]\nrecovery = [\"fido2\"]\ndrill_days = 30\n");
    image = luks("disk.img");
    EXPECT_EQ(volseal({"protector", "add", "tpm", "--key-file", key_file(), image.native()}).status,
              0);
    EXPECT_EQ(add({image}).status, 0);
    const Result recovery = volseal({"protector", "add", "recovery-key", image.native()});
    EXPECT_EQ(recovery.status, 0) << recovery.err;
    write_file(folder / "recovery", recovery.out);
  }

  std::vector<Drill> noted() const { return load_drills(folder / "state"); }
  std::string log() const { return read_file(folder / "state/audit.log"); }

  test::Swtpm swtpm;
  PluggedKey key{keys, "key"};
  Path image;
};

TEST_F(DrillVerbTest, EveryWayInIsTriedInItsTurnAndRemembered) {
  Result checked = volseal({"check", image.native()});
  EXPECT_EQ(checked.status, 1);
  EXPECT_THAT(checked.out, HasSubstr("keyslot 2 (fido2): no drill has opened it yet"));

  Terminal terminal(command({"drill", image.native()}));
  terminal.expect("keyslot 1 (tpm): opens");
  terminal.answer("PIN of the FIDO2 key", "1234\n");
  terminal.expect("keyslot 2 (fido2): opens");
  terminal.answer("Passphrase of " + image.native() + ", keyslot 0", "passphrase\n");
  terminal.expect("keyslot 0 (passphrase): opens");
  terminal.answer("Recovery key of " + image.native() + ", keyslot 3",
                  read_file(folder / "recovery"));
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_THAT(terminal.shown(), HasSubstr("4 of 4 ways in opened"));
  EXPECT_EQ(noted().size(), 4U);
  EXPECT_THAT(log(), AllOf(HasSubstr(R"("action":"drill")"), HasSubstr(R"("kind":"fido2")")));
  EXPECT_THAT(log() + read_file(folder / "state/drills.json"),
              Not(HasSubstr(read_file(folder / "recovery").substr(0, 71))));

  checked = volseal({"check", image.native()});
  EXPECT_THAT(checked.out, AllOf(HasSubstr("keyslot 3 (recovery-key): last drill today, by "),
                                 Not(HasSubstr("no drill has opened it"))));
  // The screen has room for two of them.
  EXPECT_THAT(volseal({"status"}).out,
              AllOf(HasSubstr(": opened 0 days ago, by "), HasSubstr("and 2 more")));
  EXPECT_THAT(volseal({"status", "--json"}).out, HasSubstr(R"("kind": "recovery-key")"));
}

TEST_F(DrillVerbTest, WhatIsNotAtHandIsLeftOutAndWhatIsWrongIsSaid) {
  key.pull_out();
  Terminal terminal(command({"drill", image.native()}));
  terminal.expect("keyslot 2 (fido2): DOES NOT OPEN: no-key: no FIDO2 key is plugged in");
  terminal.answer("Passphrase", "wrong one\n");
  terminal.expect("that does not open it");
  terminal.answer("Passphrase", "\n");
  terminal.expect("keyslot 0 (passphrase): DOES NOT OPEN: wrong-secret");
  terminal.answer("Recovery key", "\n");
  terminal.expect("keyslot 3 (recovery-key): left out");
  EXPECT_EQ(terminal.wait(), 7) << terminal.shown();
  EXPECT_EQ(noted().size(), 3U) << "what was left out was no drill";
  EXPECT_THAT(volseal({"check", image.native()}).out,
              HasSubstr("keyslot 2 (fido2): no drill has opened it yet"));
}

TEST_F(DrillVerbTest, UnattendedItTriesTheTpmAlone) {
  Result result = volseal({"drill", "--unattended", "--json", image.native()});
  EXPECT_EQ(result.status, 0) << result.err;
  auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["schema"], "volseal-drill/1");
  ASSERT_EQ(json["drills"].size(), 1U);
  EXPECT_EQ(json["drills"][0]["kind"], "tpm");
  EXPECT_EQ(json["drills"][0]["outcome"], "opened");
  EXPECT_EQ(key.touches(), 2) << "those of the enrollment";

  swtpm.restart();
  swtpm.extend(7, "another firmware");
  result = volseal({"drill", "--unattended", "--json", image.native()});
  EXPECT_EQ(result.status, 7);
  json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["drills"][0]["outcome"], "policy-mismatch");
  const auto drills = noted();
  EXPECT_EQ(drills.at(0).outcome, "policy-mismatch");
  EXPECT_NE(drills.at(0).opened, "");
}

TEST_F(DrillVerbTest, OneKeyslotIsTriedFromFiles) {
  const std::string file = (folder / "recovery").native();
  EXPECT_EQ(volseal({"drill", "--keyslot", "3", "--key-file", file, image.native()}).status, 0);
  EXPECT_EQ(volseal({"drill", "--keyslot", "0", "--key-file", file, image.native()}).status, 6)
      << "it opens another keyslot, not this one";
  EXPECT_EQ(volseal({"drill", "--keyslot", "9", image.native()}).status, 4);
  EXPECT_EQ(volseal({"drill", "--keyslot", "0"}).status, 64);
  EXPECT_EQ(volseal({"drill", "--key-file", file, image.native()}).status, 64);
  EXPECT_EQ(volseal({"drill", blank("none.img", 1).native()}).status, 4);
  // Another key in the keyslot of the same number was never drilled.
  EXPECT_EQ(noted().size(), 2U);
  run_or_throw({"cryptsetup", "luksKillSlot", "-q", "--key-file", key_file(), image.native(), "3"});
  const Result anew = volseal({"protector", "add", "recovery-key", image.native()});
  ASSERT_EQ(anew.status, 0) << anew.err;
  EXPECT_THAT(volseal({"check", image.native()}).out,
              HasSubstr("keyslot 3 (recovery-key): no drill has opened it yet"));
}

}  // namespace
}  // namespace volseal
