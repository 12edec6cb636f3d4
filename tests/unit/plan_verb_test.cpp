// `volseal plan` and `volseal policy` as people run them, on saved graphs and image files.
#include "core/base/file.h"
#include "core/base/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cstdlib>

namespace volseal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const Path data = VOLSEAL_TEST_DATA;

class PlanVerbTest : public ::testing::Test {
 protected:
  PlanVerbTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "volseal-plan.XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
    policy = folder / "policy.toml";
    write_file(policy, "");
  }
  ~PlanVerbTest() override { std::filesystem::remove_all(folder); }

  ProcessResult volseal(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {VOLSEAL_PROGRAM, "--policy", policy.native()});
    return run(arguments);
  }
  static std::string graph(const std::string& name) { return (data / (name + ".json")).native(); }

  Path folder;
  Path policy;
};

TEST_F(PlanVerbTest, SaysByItsExitStatusWhetherSomethingIsInTheWay) {
  EXPECT_EQ(volseal({"plan", "--graph", graph("demo")}).status, 5);
  write_file(policy,
             "[[rule]]\nname = \"b\"\naction = \"leave\"\nreason = \"r\"\n"
             "match.mount = \"/boot*\"\n");
  const ProcessResult released = volseal({"plan", "--graph", graph("demo"), "--unmount"});
  EXPECT_EQ(released.status, 0);
  EXPECT_THAT(released.output, HasSubstr("4 volumes to encrypt"));
  const ProcessResult done = volseal({"plan", "--graph", graph("done")});
  EXPECT_EQ(done.status, 0);
  EXPECT_THAT(done.output, HasSubstr("Nothing to encrypt."));
}

TEST_F(PlanVerbTest, SaysAsJsonWhichRuleDecides) {
  write_file(policy,
             "[[rule]]\nname = \"idle\"\naction = \"leave\"\nreason = \"r\"\n"
             "match.mount = \"/nowhere\"\n[[rule]]\nname = \"b\"\naction = \"leave\"\n"
             "reason = \"boot\"\nuntil = \"2099-01-01\"\nmatch.mount = \"/boot*\"\n");
  const ProcessResult result = volseal({"policy", "check", "--json", "--graph", graph("demo")});
  ASSERT_EQ(result.status, 0) << result.output;
  const auto json = nlohmann::json::parse(result.output);
  EXPECT_EQ(json.at("schema"), "volseal-policy-check/1");
  EXPECT_EQ(json.at("idle_rules"), nlohmann::json::array({"idle"}));
  std::size_t left = 0;
  for (const auto& volume : json.at("volumes")) {
    const bool boot = volume.at("action") == "leave";
    left += boot ? 1 : 0;
    EXPECT_EQ(volume.at("rule"), boot ? nlohmann::json("b") : nlohmann::json());
    EXPECT_EQ(volume.at("group"), boot ? nlohmann::json() : nlohmann::json("default"));
  }
  EXPECT_EQ(left, 2U);  // /boot and /boot/efi
}

TEST_F(PlanVerbTest, PlansOneVolumeAsJson) {
  const ProcessResult result = volseal({"plan", "--json", "--graph", graph("demo"), "/dev/vdc"});
  EXPECT_EQ(result.status, 0);
  const auto json = nlohmann::json::parse(result.output);
  EXPECT_EQ(json.at("schema"), "volseal-plan/1");
  EXPECT_EQ(json.at("volumes").size(), 1U);
  EXPECT_EQ(json.at("volumes").at(0).at("task"), "format");
}

TEST_F(PlanVerbTest, NamesTheVolumesOnADiskThatIsNone) {
  const ProcessResult result = volseal({"plan", "--graph", graph("demo"), "/dev/vdb"});
  EXPECT_EQ(result.status, 64);
  EXPECT_THAT(result.output, HasSubstr("name /dev/vdb1, /dev/vdb2"));
  EXPECT_EQ(volseal({"plan", "--graph", graph("demo"), "/dev/nothing"}).status, 4);
}

TEST_F(PlanVerbTest, PlansAnImageFile) {
  const Path image = folder / "blank.img";
  write_file(image, "");
  std::filesystem::resize_file(image, 64U << 20U);
  const ProcessResult result = volseal({"plan", "--json", image.native()});
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("\"task\": \"format\""));
  EXPECT_THAT(result.output, HasSubstr("\"mapping\": \"blank-img-crypt\""));
}

TEST_F(PlanVerbTest, ATypoInThePolicyIsOneLineAndStatus78) {
  write_file(policy, "[group.default.tpm]\npcr = [7]\n");
  for (const char* verb : {"plan", "policy"}) {
    std::vector<std::string> arguments{verb};
    if (verb == std::string_view("policy")) arguments.emplace_back("check");
    arguments.insert(arguments.end(), {"--graph", graph("demo")});
    const ProcessResult result = volseal(arguments);
    EXPECT_EQ(result.status, 78);
    EXPECT_THAT(result.output,
                StartsWith("volseal: " + policy.native() +
                           ":2: unknown key 'pcr' in [group.default.tpm] (did you mean 'pcrs'?)"));
  }
}

TEST_F(PlanVerbTest, PolicyCheckNamesTheRuleOfEachVolume) {
  write_file(policy,
             "[[rule]]\nname = \"swap\"\nmatch.filesystem = \"swap\"\n"
             "[[rule]]\nname = \"never\"\nmatch.label = \"nobody\"\n");
  const ProcessResult result = volseal({"policy", "check", "--graph", graph("demo")});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, HasSubstr("is valid: 2 rules, 1 group"));
  EXPECT_THAT(result.output, HasSubstr("swap (line 1)"));
  EXPECT_THAT(result.output, HasSubstr("Decide nothing on this machine: never"));
}

TEST_F(PlanVerbTest, TheDefaultPolicyCanBeSavedAndUsed) {
  const ProcessResult text = volseal({"policy", "default"});
  EXPECT_EQ(text.status, 0);
  write_file(policy, text.output);
  const ProcessResult result = volseal({"policy", "check", "--graph", graph("mixed")});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, HasSubstr("forbid: unencrypted removable media"));
  EXPECT_THAT(result.output, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace volseal
