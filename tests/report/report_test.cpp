// What hostile devices cannot do to any form of the report.
#include "core/report/report.h"

#include "core/base/escape.h"
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

}  // namespace
}  // namespace volseal
