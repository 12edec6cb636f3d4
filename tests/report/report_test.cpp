// What hostile devices cannot do to any form of the report.
#include "core/report/report.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/report/changes.h"
#include "tests/support/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace volseal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ReportTest : public ::testing::Test, public test::Machine {
 protected:
  Report report() {
    return make_report(graph, policy, coverage(), parse_controls(default_controls_text(), "test"),
                       {.version = "1", .made_at = "2030-01-01T00:00:00.000Z"});
  }

  std::vector<std::string> every_form() {
    const Report made = report();
    return {report_json(made),
            report_csv(made),
            openmetrics(made),
            junit(made),
            icinga(made),
            oscal(made),
            report_html(made),
            controls_text(made, {}),
            to_text(made.coverage, {}),
            report_html(made)};
  }
};

// The graph's JSON cannot bring these, a disk can.
TEST_F(ReportTest, BytesThatAreNoUtf8ReachNobody) {
  for (const std::string text : {"\xff\xfe", "\xc0\xaf", "\xed\xa0\x80", "\x80", "ab\xf0\x9f"}) {
    graph = {};
    const At at = disk("sda");
    holds(at, "ext4", "/srv/" + text);
    graph.host = text;
    graph.kernel = text;
    graph.boot_id = text;
    graph[at].path = "/dev/" + text;
    graph[at].content.label = text;
    graph[at].content.uuid = text;
    graph[at].serial = text;
    graph[at].model = text;
    for (const std::string& form : every_form()) EXPECT_EQ(to_valid_utf8(form), form);
  }
}

TEST_F(ReportTest, AVolumeKeepsItsIdWhenItIsEncrypted) {
  const At part = partition(disk("sda"), "sda1");
  graph[part].partition_uuid = "1234";
  holds(part, "ext4", "/srv");
  const std::string before = report().ids.at(0);
  luks(part);
  EXPECT_EQ(report().ids.at(0), before);
  EXPECT_EQ(before, "partuuid:1234");
}

TEST_F(ReportTest, VolumesThatSayTheyAreTheSameAreToldApart) {
  for (const char* name : {"sda", "sdb"}) {
    const At at = disk(name);
    graph[at].serial = "same";
    holds(at, "ext4");
  }
  EXPECT_THAT(report().ids, ::testing::ElementsAre("serial:same", "serial:same#2"));
}

TEST_F(ReportTest, TheBarOfPerformanceDataIsNobodysToSet) {
  const At at = disk("sda");
  graph[at].path = "/dev/a|covered=999";
  holds(at, "ext4");
  const std::string line = icinga(report());
  EXPECT_THAT(line, HasSubstr("VOLSEAL CRITICAL - 0 of 1"));
  EXPECT_EQ(std::ranges::count(line, '|'), 1);
}

TEST_F(ReportTest, ACellNeverIsAFormula) {
  const At at = disk("sda");
  graph[at].path = "=cmd|' /C calc'!A0";
  holds(at, "ext4");
  EXPECT_THAT(report_csv(report()), HasSubstr(",\"'=cmd|' /C calc'!A0\","));
}

TEST_F(ReportTest, LabelsStayInTheirQuotes) {
  const At at = disk("sda");
  graph[at].path = "/dev/a\"} 1\nvolseal_volumes{x=\"";
  holds(at, "ext4");
  EXPECT_THAT(openmetrics(report()), HasSubstr(R"(volume="/dev/a\"} 1\\x0avolseal_volumes{x=\"")"));
}

// Devices that rest on several, in any order, and more lanes than there is room for.
TEST_F(ReportTest, TheGraphIsDrawnWithEveryDeviceOnce) {
  const At one = disk("sda");
  const At two = disk("sdb");
  for (int i = 0; i < 20; ++i)
    holds(mapped("vg-" + std::to_string(i), "linear", {two, one}), "ext4");
  holds(crypt(luks(made_of("md0", {one, two}, DeviceKind::md)), "deep"), "xfs", "/srv");
  const std::string page = report_html(report());
  const auto count = [&](const std::string& text) {
    std::size_t found = 0;
    for (auto at = page.find(text); at != std::string::npos; at = page.find(text, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("<text class=\"name\""), graph.devices.size());
  EXPECT_EQ(count("<path class=\"arrow\""), 8U);
  EXPECT_THAT(page, HasSubstr(" on sdb, sda"));
}

TEST_F(ReportTest, WhatWasReadWithoutRootsRightsSaysSo) {
  holds(disk("sda"), "ext4");
  graph.root = false;
  EXPECT_EQ(nlohmann::json::parse(report_json(report())).at("root"), false);
}

// Two tenants on one disk, one of them on a disk of its own as well.
class TenantReportTest : public ReportTest {
 protected:
  TenantReportTest() {
    policy = parse_policy(
        "[group.a]\ntenant = \"A\"\nenvironment = \"production\"\n"
        "[group.a-test]\ntenant = \"A\"\nenvironment = \"test\"\n"
        "[group.b]\ntenant = \"B\"\n"
        "[[rule]]\nname = \"a\"\nmatch = { path = \"/dev/sda1\" }\ngroup = \"a\"\n"
        "[[rule]]\nname = \"at\"\nmatch = { path = \"/dev/sdb\" }\ngroup = \"a-test\"\n"
        "[[rule]]\nname = \"b\"\nmatch = { path = \"/dev/sda2\" }\ngroup = \"b\"\n",
        "test");
    const At shared = disk("sda");
    of_group(luks(partition(shared, "sda1")), "a");
    const At b = luks(partition(shared, "sda2"));
    of_group(b, "b");
    holds(crypt(b, "b"), "ext4", "/srv/b");
    of_group(luks(disk("sdb")), "a-test");
    holds(disk("sdc"), "ext4", "/nobody");
  }

  void of_group(At at, const std::string& name) { graph[at].luks->tokens[1].group = name; }

  Report part(const Filter& filter) {
    return make_report(graph, policy, coverage(), parse_controls(default_controls_text(), "test"),
                       {.version = "1", .made_at = "2030-01-01T00:00:00.000Z", .filter = filter});
  }

  static std::vector<std::string> paths(const Report& report) {
    std::vector<std::string> found;
    for (const VolumeVerdict& volume : report.coverage.volumes) found.push_back(volume.path);
    return found;
  }

  static std::vector<std::string> devices(const Report& report) {
    std::vector<std::string> found;
    for (const ReportDevice& device : report.devices) found.push_back(device.path);
    return found;
  }
};

TEST_F(TenantReportTest, APartHasTheVolumesThatItIsOfAndNothingOfOthers) {
  using ::testing::ElementsAre;
  using ::testing::IsEmpty;
  const Report b = part({.tenants = {"B"}});
  EXPECT_THAT(paths(b), ElementsAre("/dev/sda2"));
  EXPECT_THAT(devices(b), ElementsAre("/dev/sda", "/dev/sda2", "/dev/mapper/b"));
  EXPECT_THAT(b.devices[1].below, ElementsAre(0U));
  EXPECT_THAT(b.devices[2].below, ElementsAre(1U));
  EXPECT_EQ(b.coverage.volumes[0].device, 1U);
  EXPECT_EQ(b.devices[1].volume, 0U);
  EXPECT_EQ(b.ids.size(), 1U);
  EXPECT_EQ(b.coverage.exit_status(), 0);
  // What else lies on the disk is others'.
  EXPECT_THAT(b.coverage.disks, IsEmpty());
  EXPECT_THAT(b.coverage.shared_disks, ElementsAre("/dev/sda"));
  EXPECT_EQ(b.coverage.bytes, b.coverage.volumes[0].bytes);
  ASSERT_EQ(b.coverage.tenants.size(), 1U);

  const Report a = part({.tenants = {"A"}});
  EXPECT_THAT(paths(a), ElementsAre("/dev/sda1", "/dev/sdb"));
  ASSERT_EQ(a.coverage.disks.size(), 1U);
  EXPECT_EQ(a.coverage.disks[0].name, "/dev/sdb");
  ASSERT_EQ(a.coverage.tenants.size(), 2U);  // production and test
  EXPECT_THAT(paths(part({.tenants = {"A"}, .environments = {"test"}})), ElementsAre("/dev/sdb"));
  EXPECT_THAT(paths(part({.groups = {"a", "b"}})), ElementsAre("/dev/sda1", "/dev/sda2"));
}

TEST_F(TenantReportTest, WhatBelongsToNobodyCanBeAskedFor) {
  const Report none = part({.tenants = {""}});
  EXPECT_THAT(paths(none), ::testing::ElementsAre("/dev/sdc"));
  EXPECT_EQ(none.coverage.exit_status(), 2);
  // Nothing seen is nothing proven.
  EXPECT_EQ(part({.tenants = {"B"}, .environments = {"test"}}).coverage.exit_status(), 3);
}

TEST_F(TenantReportTest, NobodyTakesAPartForTheWhole) {
  const Report made = part({.tenants = {"B"}});
  for (const std::string& form : {to_text(made.coverage, {}), report_html(made), oscal(made)})
    EXPECT_THAT(form, HasSubstr("the machine has more"));
  EXPECT_THAT(to_text(made.coverage, {}), HasSubstr("COVERED, of these only: 1 volume"));
  EXPECT_THAT(icinga(made), HasSubstr("only tenant \"B\": 1 of 1"));
  EXPECT_THAT(junit(made), HasSubstr("volseal check, only tenant &quot;B&quot;"));
  EXPECT_THAT(openmetrics(made), HasSubstr(R"(volseal_report_part{only="tenant \"B\""} 1)"));
  EXPECT_THAT(report_csv(made), HasSubstr(R"("tenant ""B""")"));
  EXPECT_EQ(nlohmann::json::parse(report_json(made)).at("filter").at("tenants"),
            nlohmann::json::array({"B"}));
  EXPECT_TRUE(nlohmann::json::parse(report_json(report())).at("filter").is_null());
}

TEST_F(TenantReportTest, ProductionAndTestAreToldApartInEveryForm) {
  const Report made = report();
  for (const std::string& form : {to_text(made.coverage, {.columns = 160}), junit(made)}) {
    EXPECT_THAT(form, HasSubstr("A/production"));
    EXPECT_THAT(form, HasSubstr("A/test"));
  }
  for (const std::string& form :
       {report_json(made), report_csv(made), openmetrics(made), oscal(made), report_html(made)}) {
    EXPECT_THAT(form, HasSubstr("production"));
    EXPECT_THAT(form, HasSubstr("test"));
  }
  graph[*graph.find("/dev/sdb")].luks.reset();
  holds(*graph.find("/dev/sdb"), "ext4", "/srv/test");
  EXPECT_THAT(icinga(report()), HasSubstr("/dev/sdb (A/test) not-covered"));
}

TEST_F(TenantReportTest, APartIsComparedWithThatPartOfAnEarlierWhole) {
  const EarlierReport whole = parse_earlier_report(report_json(report()), "whole");
  const Report b = part({.tenants = {"B"}});
  EXPECT_TRUE(compare(whole, b).changes.empty());
  const EarlierReport earlier = parse_earlier_report(report_json(b), "part");
  EXPECT_TRUE(compare(earlier, b).changes.empty());
  for (const Report& other : {report(), part({.tenants = {"A"}})})
    EXPECT_THROW(compare(earlier, other), Error);
}

}  // namespace
}  // namespace volseal
