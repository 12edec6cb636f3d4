#include "core/drill/drill.h"

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/coverage/drill_ages.h"
#include "tests/support/image.h"
#include "tests/support/machine.h"

#include <gmock/gmock.h>

#include <thread>
#include <vector>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DrillTest : public ImageTest {
 protected:
  static Drill drill(int keyslot, const std::string& fingerprint, bool opened = true,
                     const std::string& when = "2026-03-01T10:00:00.000Z") {
    return {.luks_uuid = "1234",
            .fingerprint = fingerprint,
            .keyslot = keyslot,
            .kind = "recovery-key",
            .volume = "/dev/sda",
            .opened = opened ? when : "",
            .tried = when,
            .outcome = opened ? "opened" : "wrong-secret",
            .person = "root"};
  }
};

TEST_F(DrillTest, IsReadBackAndTheLastOneOfAKeyslotCounts) {
  EXPECT_THAT(load_drills(folder), IsEmpty());
  note_drill(folder / "state", drill(0, "aa"));
  note_drill(folder / "state", drill(1, "bb"));
  note_drill(folder / "state", drill(0, "aa", false, "2026-04-01T10:00:00.000Z"));
  const auto drills = load_drills(folder / "state");
  ASSERT_EQ(drills.size(), 2U);
  const Drill* first = find_drill(drills, "1234", "aa");
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->outcome, "wrong-secret");
  EXPECT_EQ(first->tried, "2026-04-01T10:00:00.000Z");
  EXPECT_EQ(first->opened, "2026-03-01T10:00:00.000Z") << "a failure takes no success back";
  EXPECT_EQ(find_drill(drills, "1234", "cc"), nullptr);
  // The keyslot has another key now: what was known of the old one goes.
  note_drill(folder / "state", drill(0, "cc", false));
  EXPECT_EQ(find_drill(load_drills(folder / "state"), "1234", "aa"), nullptr);
  EXPECT_EQ(find_drill(load_drills(folder / "state"), "1234", "cc")->opened, "");
}

TEST_F(DrillTest, NoneIsLostWhenSeveralAreNotedAtOnce) {
  std::vector<std::thread> people;
  for (int i = 0; i < 8; ++i) {
    people.emplace_back([&, i] {
      for (int j = 0; j < 4; ++j) note_drill(folder, drill(i * 4 + j, std::to_string(i * 4 + j)));
    });
  }
  for (std::thread& person : people) person.join();
  EXPECT_EQ(load_drills(folder).size(), 32U);
}

TEST_F(DrillTest, AFileThatIsNotOursIsRefused) {
  const std::string good = to_json(std::vector{drill(0, "aa")});
  EXPECT_EQ(parse_drills(good).size(), 1U);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& bad :
       {std::string(), std::string("[]"), with("volseal-drills/1", "volseal-drills/2"),
        with(R"("keyslot": 0)", R"("keyslot": 32)"), with(R"("keyslot": 0)", R"("keyslot": -1)"),
        with(R"("kind": "recovery-key")", R"("kind": 1)"), with(R"("person")", R"("nobody")"),
        with(R"("person")", R"("more": "", "person")"), with(R"("drills")", R"("drill")")}) {
    try {
      parse_drills(bad);
      ADD_FAILURE() << "read: " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::damaged);
    }
  }
}

TEST(Days, AreCountedByTheCalendar) {
  EXPECT_EQ(days_between("2026-03-01T23:59:59.999Z", "2026-03-02"), 1);
  EXPECT_EQ(days_between("2024-02-28", "2024-03-01"), 2);
  EXPECT_EQ(days_between("2026-03-02", "2026-03-01"), -1);
  for (const char* bad :
       {"", "2026-13-01", "2026-02-30", "2026-1-001", "2026-03-01x", "20x6-03-01"})
    EXPECT_EQ(days_between(bad, "2026-03-01"), std::nullopt) << bad;
}

class DrillAgesTest : public ::testing::Test, public test::Machine {
 protected:
  DrillAgesTest() {
    LuksHeader& header = *graph[luks(disk("sda"))].luks;
    header.uuid = "1234";
    for (Keyslot& slot : header.keyslots) slot.fingerprint = "f" + std::to_string(slot.id);
  }

  VolumeVerdict judged(const std::string& today) const {
    return judge(graph, policy, today, records()).volumes.at(0);
  }

  Records records() const {
    Records records;
    records.drills = drills;
    return records;
  }

  std::vector<Drill> drills;
};

TEST_F(DrillAgesTest, AnOverdueDrillMakesAVolumeWeakAndSaysHowOldTheLastOneIs) {
  EXPECT_EQ(judged("2026-04-01").verdict, Verdict::covered) << "nobody asks for drills";
  policy.groups.at(0).drill_days = 30;
  EXPECT_THAT(judged("2026-04-01").reasons,
              ElementsAre("/dev/sda: keyslot 0 (recovery-key): no drill has opened it yet; group "
                          "default asks for a drill every 30 days: 'volseal drill'"));
  drills.push_back({.luks_uuid = "1234",
                    .fingerprint = "f0",
                    .keyslot = 0,
                    .opened = "2026-03-02T10:00:00.000Z",
                    .person = "ali\x1b[2Jce"});
  const VolumeVerdict good = judged("2026-04-01");
  EXPECT_EQ(good.verdict, Verdict::covered);
  ASSERT_EQ(good.drills.size(), 1U) << "each boot is a drill of the TPM";
  EXPECT_EQ(good.drills[0].days, 30);
  const Coverage coverage = judge(graph, policy, "2026-04-01", records());
  EXPECT_THAT(to_text(coverage, {.columns = 100}),
              HasSubstr("keyslot 0 (recovery-key): last drill 30 days ago, by ali\\x1b[2Jce"));
  EXPECT_THAT(to_json(coverage), HasSubstr(R"("overdue": false)"));
  EXPECT_THAT(judged("2026-04-02").reasons, ElementsAre(HasSubstr("last drill 31 days ago")));
  EXPECT_EQ(judged("2026-04-02").verdict, Verdict::covered_weak);
  drills[0].fingerprint = "another key's";
  EXPECT_THAT(judged("2026-04-01").reasons, ElementsAre(HasSubstr("no drill has opened it yet")));
  EXPECT_THAT(judge(graph, policy, "2026-04-01").volumes.at(0).reasons, IsEmpty())
      << "of another machine's nothing is known";
}

}  // namespace
}  // namespace volseal
