// One screen: what needs attention comes first, and everything has room.
#include "core/status/status.h"

#include "core/base/escape.h"
#include "tests/support/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sstream>

namespace volseal {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* now = "2026-06-01T12:00:00.000Z";

class StatusTest : public ::testing::Test, public test::Machine {
 protected:
  Status status() {
    Status made{.coverage = coverage()};
    for (VolumeVerdict& volume : made.coverage.volumes) {
      if (!volume.luks_uuid.empty()) volume.header_backup = now;
    }
    made.coverage.host = "server7";
    made.watched = true;
    made.log = StatusLog{.there = true, .lines = 3, .signed_lines = 3, .signed_at = now};
    return made;
  }

  static std::vector<std::string> commands(const Status& status) {
    std::vector<std::string> all;
    for (const Attention& one : attention_of(status, now)) all.push_back(one.command);
    return all;
  }

  static std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> all;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }
};

TEST_F(StatusTest, NothingNeedsAttentionWhereAllIsWell) {
  luks(disk("sda"));
  EXPECT_THAT(commands(status()), ElementsAre());
  EXPECT_THAT(lines(to_text(status(), now, {})).front(), "server7: nothing needs attention");
}

TEST_F(StatusTest, WhatIsWorstComesFirstWithItsCommand) {
  luks(disk("sda"));
  holds(disk("sdb"), "ext4", "/srv");
  disk("sdc");
  Status made = status();
  made.groups = {{.name = "a", .tenant = "A", .environment = "test", .tpm = GroupTpm::pending},
                 {.name = "b", .locked = "2026-05-31T00:00:00.000Z"}};
  made.watched = false;
  made.quarantined = {"/dev/sdd"};
  made.next_boot = StatusNextBoot{.verified_at = now, .good = false, .problem = "no initramfs"};
  made.log->lines = 2;
  EXPECT_THAT(commands(made), ElementsAre("volseal recover", "volseal plan",
                                          "volseal quarantine list", "volseal tpm revoke --group a",
                                          "volseal verify-next-boot", "volseal audit verify",
                                          "systemctl start volseal-watch.service", "volseal scan"));
  const auto text = lines(to_text(made, now, {}));
  EXPECT_THAT(text[0], "server7: 8 things to attend to");
  EXPECT_THAT(text[1], StartsWith("! group b is locked down since"));
}

TEST_F(StatusTest, ALogThatNobodySignsIsTold) {
  Status made = status();
  made.log->lines = 9;
  EXPECT_THAT(commands(made), ElementsAre());
  made.log->signed_at = "2026-06-01T08:00:00.000Z";
  EXPECT_THAT(commands(made), ElementsAre("systemctl status volseal-audit.timer"));
}

TEST_F(StatusTest, AVolumeInTheWrongGroupOrInTwoIsTold) {
  policy = parse_policy("[group.b]\ntenant = \"B\"\n", "test");
  graph[luks(disk("sda"))].luks->tokens[1].group = "b";
  Status made = status();
  made.in_two_groups = {"/dev/sdz"};
  EXPECT_THAT(attention_of(made, now),
              ::testing::IsSupersetOf(
                  {Field(&Attention::what, "/dev/sdz is in two groups at once"),
                   Field(&Attention::what, AllOf(HasSubstr("/dev/sda is enrolled in group b"),
                                                 HasSubstr("the policy says default")))}));
}

TEST_F(StatusTest, AnyMachineFitsAnyScreen) {
  for (int i = 0; i < 60; ++i) {
    const std::string name = "disk-with-a-rather-long-name-" + std::to_string(i);
    if (i % 2 == 0) {
      luks(disk(name));
    } else {
      holds(disk(name), "ext4", "/srv/\x1b[31m" + name);
    }
  }
  Status made = status();
  for (int i = 0; i < 40; ++i) {
    made.groups.push_back({.name = "g" + std::to_string(i),
                           .tenant = "T\xc3\xa4nant",
                           .environment = "production",
                           .tpm = GroupTpm::not_approved,
                           .counter = 7});
    made.drills.push_back({.keyslot = i, .kind = "fido2", .volume = "/dev/sda", .tried = now});
    made.problems.push_back("\x1b]0;evil\x07");
    made.quarantined.push_back("/dev/sdq" + std::to_string(i));
  }
  made.boot = StatusBoot{.how = "tpm", .latch = "closed", .problems = {"a", "b", "c"}};
  made.last_unlock = StatusUnlock{.time = now, .volume = std::string(300, 'v')};
  made.next_boot = StatusNextBoot{.verified_at = now};
  for (const std::size_t width : {40U, 60U, 80U, 132U}) {
    const auto text = lines(to_text(made, now, {.columns = width}));
    EXPECT_LE(text.size(), 24U) << width;
    for (const std::string& line : text) {
      EXPECT_LE(columns_of(line), width) << line;
      EXPECT_FALSE(line.contains('\x1b')) << line;
    }
    EXPECT_THAT(to_text(made, now, {.columns = width}), HasSubstr("more: volseal status --json"));
  }
  EXPECT_EQ(nlohmann::json::parse(to_json(made, now)).at("groups").size(), 40U);
}

}  // namespace
}  // namespace volseal
