// What counts as better and what as worse.
#include "core/report/changes.h"

#include "core/base/error.h"
#include "tests/support/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace volseal {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ChangesTest : public ::testing::Test, public test::Machine {
 protected:
  Report report() {
    return make_report(graph, policy, coverage(), Controls{},
                       {.version = "1", .made_at = "2030-01-01T00:00:00.000Z"});
  }
  Comparison since(const std::string& before) {
    return compare(parse_earlier_report(before, "before"), report());
  }
  At named_partition(At disk_at, const std::string& name) {
    const At at = partition(disk_at, name);
    graph[at].partition_uuid = "uuid-of-" + name;
    return at;
  }

  static auto is(Course course, const std::string& what) {
    return AllOf(Field(&Change::course, course), Field(&Change::what, HasSubstr(what)));
  }
};

TEST_F(ChangesTest, NothingChangedIsNoChange) {
  luks(named_partition(disk("sda"), "sda1"));
  const Comparison same = since(report_json(report()));
  EXPECT_THAT(same.changes, IsEmpty());
  EXPECT_FALSE(same.worse());
}

TEST_F(ChangesTest, EncryptingAVolumeIsBetterAndTheWayBackIsWorse) {
  const At part = named_partition(disk("sda"), "sda1");
  holds(part, "ext4", "/srv");
  const std::string plain = report_json(report());
  luks(part);
  const std::string encrypted = report_json(report());
  EXPECT_THAT(since(plain).changes, ElementsAre(is(Course::better, "was not-covered, is covered")));
  graph[part].luks.reset();
  holds(part, "ext4", "/srv");
  const Comparison back = since(encrypted);
  EXPECT_THAT(back.changes, ElementsAre(is(Course::worse, "was covered, is not-covered")));
  EXPECT_TRUE(back.worse());
}

TEST_F(ChangesTest, KernelNamesMayChange) {
  luks(named_partition(disk("sda"), "sda1"));
  const std::string before = report_json(report());
  graph[1].path = "/dev/sdq1";
  graph[1].name = "sdq1";
  EXPECT_THAT(since(before).changes, IsEmpty());
}

TEST_F(ChangesTest, ADiskThatMovedIsKnownByItsLuksUuid) {
  const At part = luks(named_partition(disk("sda"), "sda1"));
  const std::string before = report_json(report());
  graph[part].partition_uuid = "another";
  EXPECT_THAT(since(before).changes, IsEmpty());
}

TEST_F(ChangesTest, ANewVolumeInClearIsWorseAndOneThatIsGoneIsTold) {
  holds(named_partition(disk("sda"), "sda1"), "ext4");
  const std::string before = report_json(report());
  graph = {};
  holds(named_partition(disk("sdb"), "sdb1"), "ext4");
  EXPECT_THAT(since(before).changes, ElementsAre(is(Course::worse, "is new, and not-covered"),
                                                 is(Course::other, "is gone; was not-covered")));
}

TEST_F(ChangesTest, ALostProtectorIsWorse) {
  const At part = luks(named_partition(disk("sda"), "sda1"));
  const std::string before = report_json(report());
  graph[part].luks->tokens.pop_back();
  const Comparison changed = since(before);
  EXPECT_TRUE(changed.worse());
  // Nothing opens by the TPM any more, which makes it covered-weak.
  EXPECT_THAT(changed.changes, ElementsAre(is(Course::worse, "is covered-weak")));
}

TEST_F(ChangesTest, AnExemptionMakesNothingBetter) {
  const At part = named_partition(disk("sda"), "sda1");
  holds(part, "ext4", "/srv");
  const std::string before = report_json(report());
  const Policy strict = policy;
  policy = parse_policy(
      "[[rule]]\nname = \"x\"\naction = \"leave\"\nreason = \"r\"\nmatch.mount = \"/srv\"\n", "p");
  const std::string exempt = report_json(report());
  EXPECT_THAT(since(before).changes, ElementsAre(is(Course::other, "is exempt")));
  policy = strict;
  EXPECT_THAT(since(exempt).changes, ElementsAre(is(Course::worse, "was exempt")));
}

TEST_F(ChangesTest, RefusesWhatIsNoReportOrOfAnotherHost) {
  const auto refusal = [&](const std::string& text) -> std::string {
    try {
      since(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_report);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal("no"), HasSubstr("before: not a report"));
  EXPECT_THAT(refusal("[]"), HasSubstr("not a report"));
  EXPECT_THAT(refusal("{}"), HasSubstr("schema"));
  EXPECT_THAT(refusal(R"({"schema": "volseal-coverage/2"})"), HasSubstr("another schema"));
  EXPECT_THAT(refusal(R"({"schema":"volseal-coverage/1","host":"","taken_at":"","volumes":[1]})"),
              HasSubstr("before"));
  EXPECT_THAT(refusal(R"({"schema":"volseal-coverage/1","host":"x","taken_at":"","volumes":[]})"),
              HasSubstr("this one is of"));
  luks(disk("sda"));
  std::string text = report_json(report());
  text.replace(text.find("\"covered\""), 9, "\"blessed\"");
  EXPECT_THAT(refusal(text), HasSubstr("no verdict \"blessed\""));
  for (const char* odd : {"-1", "1e99", "4294967296", "\"512\""}) {
    text = report_json(report());
    text.replace(text.find("\"key_bits\": 512"), 15, fmt::format("\"key_bits\": {}", odd));
    EXPECT_THAT(refusal(text), HasSubstr("key_bits")) << odd;
  }
}

}  // namespace
}  // namespace volseal
