// The table of controls, and what a volume is evidence for.
#include "core/report/controls.h"

#include "core/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string one =
    "[[control]]\nid = \"a\"\ncatalogue = \"C\"\nreference = \"R\"\ntitle = \"T\"\n";

VolumeVerdict volume(Verdict verdict, const std::string& cipher = "aes-xts-plain64",
                     std::uint32_t key_bits = 512) {
  VolumeVerdict result;
  result.verdict = verdict;
  result.cipher = cipher;
  result.key_bits = key_bits;
  result.protectors = {"tpm", "recovery-key"};
  return result;
}

ControlResult applied(const std::string& facts, const std::vector<VolumeVerdict>& volumes) {
  const Controls controls = parse_controls(one + "facts = " + facts + "\n", "test");
  Coverage coverage;
  coverage.volumes = volumes;
  return apply_controls(controls, coverage).at(0);
}

TEST(ControlsTest, TheTableThatIsInstalledIsReadAndNamesWhatAuditorsAskFor) {
  const Controls controls = parse_controls(default_controls_text(), "built-in");
  std::vector<std::string> ids;
  for (const Control& control : controls.controls) ids.push_back(control.id);
  for (const char* id : {"gdpr-32-1-a", "gdpr-32-1-d", "SYS.1.1.A34", "iso27001-a.8.24", "sc-28.1",
                         "pci-dss-3.5.1.2"}) {
    EXPECT_THAT(ids, ::testing::Contains(id));
  }
}

TEST(ControlsTest, OneVolumeInClearContradictsWhatAllOthersSupport) {
  const ControlResult result =
      applied("[\"encryption\"]", {volume(Verdict::covered), volume(Verdict::not_covered, "", 0),
                                   volume(Verdict::covered_weak), volume(Verdict::exempt, "", 0)});
  EXPECT_EQ(result.support, Support::contradicted);
  EXPECT_THAT(result.supporting, ElementsAre(0, 2));
  EXPECT_THAT(result.contradicting, ElementsAre(1));
}

TEST(ControlsTest, WhatCouldNotBeJudgedSupportsNothing) {
  EXPECT_EQ(applied("[\"encryption\"]", {volume(Verdict::unknown)}).support, Support::contradicted);
  EXPECT_EQ(applied("[\"judged\"]", {volume(Verdict::unknown)}).support, Support::contradicted);
  EXPECT_EQ(applied("[\"encryption\"]", {volume(Verdict::converting)}).support,
            Support::contradicted);
  EXPECT_EQ(applied("[\"encryption\"]", {}).support, Support::no_evidence);
  EXPECT_EQ(applied("[\"encryption\"]", {volume(Verdict::exempt)}).support, Support::no_evidence);
}

TEST(ControlsTest, ShortKeysAndEcbContradictTheCipher) {
  EXPECT_EQ(applied("[\"cipher\"]", {volume(Verdict::covered)}).support, Support::supported);
  EXPECT_EQ(applied("[\"cipher\"]", {volume(Verdict::covered, "aes-ecb", 256)}).support,
            Support::contradicted);
  EXPECT_EQ(
      applied("[\"cipher\"]", {volume(Verdict::covered, "aes-cbc-essiv:sha256", 128)}).support,
      Support::contradicted);
}

TEST(ControlsTest, AKeyOfATpmAloneIsNoRecovery) {
  VolumeVerdict alone = volume(Verdict::covered);
  alone.protectors = {"tpm"};
  EXPECT_EQ(applied("[\"recovery\"]", {alone}).support, Support::contradicted);
  EXPECT_EQ(applied("[\"recovery\"]", {volume(Verdict::covered)}).support, Support::supported);
  // Swap with a random key has nothing to recover.
  alone.protectors = {};
  EXPECT_EQ(applied("[\"recovery\"]", {alone}).support, Support::no_evidence);
}

TEST(ControlsTest, RefusesTablesThatItWouldMisunderstand) {
  const auto refusal = [](const std::string& text) -> std::string {
    try {
      parse_controls(text, "F");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_policy);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal(one + "facts = [\"encryption\"]\nfact = 1\n"), HasSubstr("F:7"));
  EXPECT_THAT(refusal(one + "facts = [\"magic\"]\n"), HasSubstr("no fact \"magic\""));
  EXPECT_THAT(refusal(one + "facts = []\n"), HasSubstr("a control has"));
  EXPECT_THAT(refusal(one), HasSubstr("a control has"));
  EXPECT_THAT(refusal("[[control]]\nid = \"a b\"\n"), HasSubstr("an id is"));
  EXPECT_THAT(refusal("[[control]]\ntitle = \"a\\nb\"\n"), HasSubstr("one line"));
  EXPECT_THAT(refusal("[control]\n"), HasSubstr("only [[control]]"));
  EXPECT_THAT(refusal("[["), HasSubstr("F:1"));
  const std::string whole = one + "facts = [\"encryption\"]\n";
  EXPECT_THAT(refusal(whole + whole), HasSubstr("twice"));
  EXPECT_THAT(parse_controls("", "F").controls, IsEmpty());
}

}  // namespace
}  // namespace volseal
