// Nothing that names this machine, its disks or people leaves it; the same word is the same
// pseudonym.
#include "core/report/pseudonyms.h"

#include "core/base/error.h"
#include "core/report/changes.h"
#include "tests/support/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace volseal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string uuid = "7f0c1b2a-3d4e-4f50-8192-a3b4c5d6e7f8";

class PseudonymsTest : public ::testing::Test, public test::Machine {
 protected:
  PseudonymsTest() {
    graph.host = "acme-db1";
    graph.boot_id = "11111111-2222-3333-4444-555555555555";
    const At one = disk("sda");
    graph[one].serial = "WD-SECRET77";
    graph[one].model = "Ordinary Model";
    graph[one].wwn = "0x5000cca0deadbeef";
    const At part = partition(one, "sda1");
    graph[part].partition_label = "alices disk";
    graph[part].partition_uuid = "0c1d2e3f-0001-4000-8000-00000000abcd";
    luks(part);
    graph[part].luks->uuid = uuid;
    graph[part].luks->tokens.push_back({.id = 7,
                                        .type = "volseal-escrow",
                                        .escrowed_keyslot = 0,
                                        .certificates = {"c0ffee00c0ffee00"},
                                        .threshold = 1,
                                        .acknowledged = "2030-01-01T00:00:00.000Z",
                                        .escrowed_to = "directory"});
    const At mapping = crypt(part, "acme-vault");
    graph[mapping].path = "/dev/mapper/acme-vault";
    graph[mapping].dm_name = "acme-vault";
    holds(mapping, "ext4", "/home/alice/archive");
    const At plain = disk("sdb");
    holds(plain, "ext4", "/srv/initech");
    graph[plain].content.label = "=initech\n";
    graph[plain].serial = "<b>S2</b>";
    graph.crypttab.push_back({.name = "acme-vault", .source = "UUID=" + uuid, .options = "luks"});
    policy = parse_policy(
        "[group.default]\ntenant = \"Initech GmbH\"\n"
        "[[rule]]\nname = \"for-bob\"\naction = \"leave\"\nreason = \"Bob wants it\"\n"
        "match.mount = \"/srv/initech\"\n",
        "p");
  }

  Report report(const std::string& key = "0123456789abcdef") {
    const Coverage judged = coverage();
    return pseudonymized(
        make_report(graph, policy, judged, parse_controls(default_controls_text(), "test"),
                    {.version = "1", .made_at = "2030-01-01T00:00:00.000Z"}),
        graph, policy, Secret::copy_of(key));
  }

  static std::vector<std::string> forms(const Report& made) {
    return {report_json(made), report_csv(made),
            openmetrics(made), junit(made),
            icinga(made),      oscal(made),
            report_html(made), to_text(made.coverage, {.columns = 400})};
  }
};

TEST_F(PseudonymsTest, NoFormNamesWhatIsToBeHidden) {
  for (const std::string& form : forms(report())) {
    for (const char* word : {"acme", "SECRET77", "deadbeef", "alice", "initech", "Initech", "Bob",
                             "bob", "7f0c1b2a", "0c1d2e3f", "11111111", "c0ffee", "S2<", "S2&"}) {
      EXPECT_THAT(form, Not(HasSubstr(word)));
    }
  }
}

TEST_F(PseudonymsTest, WhatJudgesTheVolumesStays) {
  const auto json = nlohmann::json::parse(report_json(report()));
  EXPECT_EQ(json.at("volumes").at(0).at("cipher"), "aes-xts-plain64");
  EXPECT_EQ(json.at("volumes").at(0).at("path"), "/dev/sda1");
  EXPECT_EQ(json.at("devices").at(0).at("model"), "Ordinary Model");
  EXPECT_THAT(json.at("volumes").at(0).at("mounts").at(0).get<std::string>(),
              StartsWith("/home/folder-"));
  EXPECT_EQ(json.at("volumes").at(1).at("verdict"), "exempt");
}

TEST_F(PseudonymsTest, TheSameKeyGivesTheSamePseudonymsAndAnotherOthers) {
  EXPECT_EQ(report_json(report()), report_json(report()));
  const std::string one = report().coverage.host;
  const std::string other = report("another key of 16").coverage.host;
  EXPECT_THAT(one, StartsWith("host-"));
  EXPECT_NE(one, other);
}

TEST_F(PseudonymsTest, ReportsOfTheSameKeyCanBeCompared) {
  const std::string before = report_json(report());
  graph[1].luks->tokens.clear();
  const Comparison comparison = compare(parse_earlier_report(before, "before"), report());
  ASSERT_EQ(comparison.changes.size(), 1U);
  EXPECT_EQ(comparison.changes[0].path, "/dev/sda1");
}

TEST_F(PseudonymsTest, AShortKeyIsRefused) {
  EXPECT_THROW(report("short"), Error);
}

}  // namespace
}  // namespace volseal
