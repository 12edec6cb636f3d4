#include "core/audit/audit.h"

#include "core/audit/journal.h"
#include "core/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

namespace volseal {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AuditTest : public ::testing::Test {
 protected:
  AuditTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "volseal-audit.XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
    path = folder / "state" / "audit.log";
  }
  ~AuditTest() override { std::filesystem::remove_all(folder); }

  std::vector<std::string> actions() const {
    std::vector<std::string> names;
    for (const AuditRecord& record : read_audit_log(path).records)
      names.push_back(record.event.action);
    return names;
  }

  Path folder;
  Path path;
};

TEST_F(AuditTest, AnEventComesBackAsItWasRecorded) {
  const AuditLog log(path, "protector");
  log.record({.action = "keyslot.add",
              .outcome = "ok",
              .volume = "/dev/sdb1",
              .luks_uuid = "e9e8d1c6-0a5a-4c0a-9f0e-6a3a4e2b8d11",
              .group = "default",
              .detail = {{"kind", "recovery-key"}, {"keyslot", "1"}}});

  const AuditReading reading = read_audit_log(path);
  EXPECT_THAT(reading.flaws, IsEmpty());
  ASSERT_EQ(reading.records.size(), 1U);
  const AuditRecord& record = reading.records[0];
  EXPECT_EQ(record.seq, 1U);
  EXPECT_EQ(record.event.action, "keyslot.add");
  EXPECT_EQ(record.event.volume, "/dev/sdb1");
  EXPECT_EQ(record.event.luks_uuid, "e9e8d1c6-0a5a-4c0a-9f0e-6a3a4e2b8d11");
  EXPECT_EQ(record.event.detail.at("kind"), "recovery-key");
  EXPECT_EQ(record.who.pid, ::getpid());
  EXPECT_EQ(record.who.uid, ::getuid());
  EXPECT_EQ(record.who.program, "unit_audit");
  EXPECT_EQ(record.who.verb, "protector");
  EXPECT_GT(record.boot_ms, 0);
  EXPECT_EQ(record.prev, std::string(64, '0'));
}

TEST_F(AuditTest, LogAndFolderAreForRootOnly) {
  AuditLog(path).record({.action = "scan"});
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  ASSERT_EQ(::stat(path.parent_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0700U);
}

TEST_F(AuditTest, EveryLineIsOneJsonObjectInAscii) {
  AuditLog(path).record({.action = "watch.finding",
                         .volume = "/dev/disk/by-label/\x1b[2J\xff\n\xc2\x9b",
                         .detail = {{"label", std::string{'\xe2', '\x80', '\xae'} + "gpj.exe"}}});
  const std::string text = read_file(path);
  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
  EXPECT_TRUE(
      std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7f); }));
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["schema"], "volseal-audit/1");
  EXPECT_EQ(json["volume"], "/dev/disk/by-label/\x1b[2J\xef\xbf\xbd\n\xc2\x9b");
}

TEST_F(AuditTest, LinesAreNumberedAndChained) {
  const AuditLog log(path);
  for (const char* action : {"enroll.start", "keyslot.add", "enroll.done"})
    log.record({.action = action});
  const AuditReading reading = read_audit_log(path);
  EXPECT_THAT(reading.flaws, IsEmpty());
  ASSERT_EQ(reading.records.size(), 3U);
  EXPECT_EQ(reading.records[2].seq, 3U);
}

TEST_F(AuditTest, AChangedLineIsNamed) {
  const AuditLog log(path);
  for (const char* outcome : {"ok", "failed", "ok"})
    log.record({.action = "unlock", .outcome = outcome});
  std::string text = read_file(path);
  text.replace(text.find("failed"), 6, "forged");
  write_file(path, text);
  const AuditReading reading = read_audit_log(path);
  ASSERT_EQ(reading.flaws.size(), 1U);
  EXPECT_EQ(reading.flaws[0].line, 2U);
}

TEST_F(AuditTest, ARemovedLineIsFound) {
  const AuditLog log(path);
  for (int i = 0; i < 3; ++i) log.record({.action = "unlock"});
  std::string text = read_file(path);
  const auto first = text.find('\n') + 1;
  text.erase(first, text.find('\n', first) + 1 - first);
  write_file(path, text);
  EXPECT_FALSE(read_audit_log(path).flaws.empty());
}

TEST_F(AuditTest, ATornLastLineIsClosedAndRecorded) {
  const AuditLog log(path);
  log.record({.action = "first"});
  log.record({.action = "second"});
  const std::string text = read_file(path);
  // A power cut may leave any part of the last line; each must be survived.
  const auto start = text.find('\n') + 1;
  for (std::size_t cut = start + 1; cut < text.size() - 1; cut += 7) {
    write_file(path, text.substr(0, cut));
    log.record({.action = "third"});
    EXPECT_THAT(actions(), ElementsAre("first", "audit.recovered", "third")) << cut;
    EXPECT_THAT(read_audit_log(path).flaws, IsEmpty()) << cut;
    EXPECT_EQ(read_audit_log(path).records.back().seq, 3U);
  }
}

TEST_F(AuditTest, ALostNewlineLosesNoEvent) {
  const AuditLog log(path);
  log.record({.action = "first"});
  std::string text = read_file(path);
  text.pop_back();
  write_file(path, text);
  log.record({.action = "second"});
  EXPECT_THAT(actions(), ElementsAre("first", "audit.recovered", "second"));
  EXPECT_THAT(read_audit_log(path).flaws, IsEmpty());
}

TEST_F(AuditTest, GarbageAtTheEndDoesNotStopTheLog) {
  const AuditLog log(path);
  log.record({.action = "first"});
  std::ofstream(path, std::ios::app) << std::string(5000, '\0');
  log.record({.action = "second"});
  EXPECT_THAT(actions(), ElementsAre("first", "audit.recovered", "second"));
  EXPECT_EQ(read_audit_log(path).records.back().seq, 3U);
}

TEST_F(AuditTest, WritersDoNotMix) {
  constexpr int writers = 4;
  constexpr int events = 25;
  std::vector<pid_t> children;
  for (int writer = 0; writer < writers; ++writer) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        const AuditLog log(path);
        for (int i = 0; i < events; ++i)
          log.record({.action = "write", .detail = {{"n", std::to_string(i)}}});
        ::_exit(0);
      } catch (...) {
        ::_exit(1);
      }
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  const AuditReading reading = read_audit_log(path);
  EXPECT_THAT(reading.flaws, IsEmpty());
  EXPECT_EQ(reading.records.size(), static_cast<std::size_t>(writers * events));
}

TEST_F(AuditTest, SeveralEventsGoInOneWrite) {
  const std::vector<Event> events = {{.action = "one"}, {.action = "two"}};
  AuditLog(path).record_all(events);
  EXPECT_THAT(actions(), ElementsAre("one", "two"));
  EXPECT_THAT(read_audit_log(path).flaws, IsEmpty());
}

TEST_F(AuditTest, AFullFileSystemIsSaidBeforeAndLeavesTheLogAsItWas) {
  const AuditLog log(path);
  log.record({.action = "first"});
  const std::string before = read_file(path);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // A write that ends in the middle is what a full disk gives; the file size limit gives the
    // same.
    (void)::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = before.size() + 100, .rlim_max = before.size() + 100};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      log.record({.action = "second"});
      ::_exit(1);
    } catch (const Error& error) {
      ::_exit(error.code() == Code::no_space ? 0 : 2);
    }
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(read_file(path), before);
}

TEST_F(AuditTest, AStartedActHasRoomForItsEnd) {
  AuditLog(path).record({.action = "enroll", .outcome = std::string(audit_started)});
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_LT(status.st_size, 4096);
  EXPECT_GE(status.st_blocks * 512, 65536);
}

TEST_F(AuditTest, OverlongTextsAreCut) {
  Event event{.action = "unlock", .volume = std::string(100'000, '\x01')};
  for (int i = 0; i < 100; ++i) event.detail[std::to_string(i)] = std::string(100'000, '\x02');
  event.detail["0"] = std::string(2000, '\xff');
  event.luks_uuid = std::string(1023, 'x') + "\xe2\x82\xac";
  AuditLog(path).record(event);
  const AuditReading reading = read_audit_log(path);
  EXPECT_THAT(reading.flaws, IsEmpty());
  ASSERT_EQ(reading.records.size(), 1U);
  EXPECT_EQ(reading.records[0].event.detail.size(), 32U);
}

TEST_F(AuditTest, ALinkIsNotFollowed) {
  std::ofstream(folder / "victim") << "data";
  make_folder(path.parent_path());
  std::filesystem::create_symlink(folder / "victim", path);
  EXPECT_THROW(AuditLog(path).record({.action = "scan"}), Error);
  EXPECT_EQ(read_file(folder / "victim"), "data");
}

TEST(AuditJournalTest, FindingsHaveTheirOwnIdAndFields) {
  AuditRecord record;
  record.event = {.action = "watch.finding",
                  .outcome = "not-covered",
                  .detail = {{"name", "sda\nPRIORITY=0"}, {"watch_rule", "usb"}}};
  const std::vector<std::string> fields = audit::journal_fields(record, true);
  EXPECT_THAT(fields, Contains("MESSAGE_ID=9f3c1a6e52b44d0bb1a7f0c85d2e6431"));
  EXPECT_THAT(fields, Contains("PRIORITY=4"));
  EXPECT_THAT(fields, Contains("VOLSEAL_FINDING_NAME=sda\\x0aPRIORITY=0"));
  EXPECT_THAT(fields, Contains("VOLSEAL_FINDING_WATCH_RULE=usb"));
  record.event = {.action = "unlock", .outcome = "ok", .detail = {{"mapping", "data"}}};
  EXPECT_THAT(audit::journal_fields(record, true),
              AllOf(Contains("PRIORITY=5"), Contains("VOLSEAL_DETAIL=mapping=data"),
                    Contains("MESSAGE_ID=5d0a6fb7c3f94e1c8f6b1a7e2c94d3b8")));
}

TEST_F(AuditTest, TheReaderIsStrict) {
  AuditLog(path).record({.action = "first"});
  const std::string good = read_file(path);
  const auto flaws_after = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    write_file(path, text);
    return read_audit_log(path).flaws.size();
  };
  EXPECT_EQ(flaws_after("\"seq\":1", "\"seq\":1.0"), 1U);
  EXPECT_EQ(flaws_after("\"seq\":1", "\"seq\": 1"), 1U);
  EXPECT_EQ(flaws_after("\"seq\":1", "\"extra\":1,\"seq\":1"), 1U);
  EXPECT_EQ(flaws_after("\"action\":\"first\"", "\"action\":7"), 1U);
  EXPECT_EQ(flaws_after("\"action\":\"first\",", ""), 1U);
  EXPECT_EQ(flaws_after("audit/1", "audit/2"), 1U);
  EXPECT_THROW(read_audit_log(path, 10), Error);
  EXPECT_THROW(read_audit_log(folder / "absent"), Error);
}

}  // namespace
}  // namespace volseal
