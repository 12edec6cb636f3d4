// Checkpoints, closed files, lost events and clocks of the audit log.
#include "core/audit/checkpoint.h"
#include "core/audit/gap.h"
#include "core/audit/record.h"
#include "core/audit/verify.h"
#include "core/base/error.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

namespace volseal {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AuditCheckpointTest : public ::testing::Test {
 protected:
  AuditCheckpointTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "volseal-audit.XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
    place.log = folder / "state" / "audit.log";
    place.rules = {.rotate_at = 4096, .checkpoint_every = 0, .gap = folder / "run" / "gap"};
  }
  ~AuditCheckpointTest() override { std::filesystem::remove_all(folder); }

  void write(int events) const {
    const AuditLog log(place, "test");
    for (int i = 0; i < events; ++i) log.record({.action = "unlock", .volume = std::to_string(i)});
  }
  void sign() const { ASSERT_TRUE(audit::make_checkpoint(place)); }

  AuditVerdict verify(const AuditVerifyOptions& options = {}) const {
    return verify_audit_log(place.log, options);
  }
  std::string what() const {
    const AuditVerdict verdict = verify();
    return verdict.sound() ? "sound" : verdict.flaws[0].what;
  }

  Path closed(std::uint64_t number) const { return audit::closed_file(place.log, number); }

  // A log of at least three closed files, all of it signed.
  void three_files() const {
    while (audit::closed_files(place.log).size() < 3) write(1);
    write(2);
    sign();
  }

  std::vector<std::string> actions() const {
    std::vector<std::string> names;
    for (const AuditRecord& record : read_audit_log(place.log).records)
      names.push_back(record.event.action);
    return names;
  }

  void edit(const Path& path, std::string_view from, std::string_view to) const {
    std::string text = read_file(path);
    text.replace(text.find(from), from.size(), to);
    write_file(path, text);
  }

  // The log rewritten as a whole by who knows how its lines are chained.
  void forge() const {
    const AuditReading reading = read_audit_log(place.log);
    std::filesystem::remove(place.log);
    AuditPlace own{.log = place.log, .rules = {.rotate_at = 0, .checkpoint_every = 0, .gap = {}}};
    const AuditLog log(own, "forger");
    for (const AuditRecord& record : reading.records) log.record(record.event);
  }

  Path folder;
  AuditPlace place;
};

TEST_F(AuditCheckpointTest, ACheckpointIsASignedNote) {
  write(5);
  sign();
  const auto text = audit::last_note(place.log);
  ASSERT_TRUE(text);
  const auto note = audit::parse_note(*text);
  ASSERT_TRUE(note);
  EXPECT_EQ(note->checkpoint.size, 5U);
  EXPECT_THAT(note->checkpoint.origin, HasSubstr(audit::this_machine()));
  const auto key = audit::load_key(place.log)->verifier(note->checkpoint.origin);
  EXPECT_TRUE(key.signed_this(*note));
  const auto read = audit::VerifierKey::parse(key.text());
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->signed_this(*note));
  auto other = *note;
  other.checkpoint.size = 6;
  EXPECT_FALSE(key.signed_this(other));
  EXPECT_FALSE(audit::CheckpointKey::generate().verifier(key.name()).signed_this(*note));
}

TEST_F(AuditCheckpointTest, NothingNewNeedsNoCheckpoint) {
  EXPECT_FALSE(audit::make_checkpoint(place));
  write(1);
  sign();
  EXPECT_FALSE(audit::make_checkpoint(place));
  write(1);
  sign();
  EXPECT_EQ(verify().checkpoints, 2U);
  EXPECT_EQ(verify().signed_lines, 2U);
  EXPECT_EQ(what(), "sound");
}

TEST_F(AuditCheckpointTest, KeyAndCheckpointsAreForRootOnly) {
  write(1);
  sign();
  for (const char* name : {"key.pem", "checkpoints", "tree.json"}) {
    struct stat status{};
    ASSERT_EQ(::stat((audit::folder_of(place.log) / name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_mode & 0777U, 0600U) << name;
  }
}

TEST_F(AuditCheckpointTest, TheyComeEverySoManyEvents) {
  place.rules.checkpoint_every = 4;
  place.rules.rotate_at = 0;
  write(11);
  EXPECT_EQ(verify().checkpoints, 2U);
  EXPECT_EQ(verify().signed_lines, 8U);
}

TEST_F(AuditCheckpointTest, ACutAtTheEndIsFound) {
  write(6);
  sign();
  const std::string text = read_file(place.log);
  write_file(place.log, text.substr(0, text.rfind('\n', text.size() - 2) + 1));
  const AuditVerdict verdict = verify();
  ASSERT_EQ(verdict.flaws.size(), 1U);
  EXPECT_EQ(verdict.flaws[0].line, 5U);
  EXPECT_THAT(verdict.flaws[0].what, HasSubstr("has had 6"));
  // And what came after it is not signed over it.
  write(1);
  EXPECT_THROW(audit::make_checkpoint(place), Error);
  EXPECT_NE(what(), "sound");
}

TEST_F(AuditCheckpointTest, ALogOfWhichNothingIsLeftIsFound) {
  write(2);
  sign();
  write_file(place.log, "");
  EXPECT_THAT(what(), HasSubstr("has had 2"));
  std::filesystem::remove(place.log);
  EXPECT_THAT(what(), HasSubstr("missing"));
}

TEST_F(AuditCheckpointTest, AnEditedLastLineIsFound) {
  write(3);
  sign();
  edit(place.log, "\"volume\":\"2\"", "\"volume\":\"9\"");
  const AuditVerdict verdict = verify();
  ASSERT_EQ(verdict.flaws.size(), 1U);
  EXPECT_LE(verdict.flaws[0].line, 3U);
}

TEST_F(AuditCheckpointTest, ALogWrittenAnewIsFound) {
  write(3);
  sign();
  write(3);
  sign();
  forge();
  const AuditVerdict verdict = verify();
  ASSERT_FALSE(verdict.sound());
  // Its first line is another: so it is another log.
  EXPECT_THAT(verdict.flaws[0].what, HasSubstr("another log"));
}

TEST_F(AuditCheckpointTest, WhatWasForgedBehindAGoodCheckpointIsNarrowedDown) {
  write(3);
  sign();
  const std::string kept = read_file(place.log);
  write(3);
  sign();
  write_file(place.log, kept);
  write(3);
  const AuditVerdict verdict = verify();
  ASSERT_EQ(verdict.flaws.size(), 1U);
  EXPECT_EQ(verdict.flaws[0].line, 4U);
  EXPECT_EQ(verdict.flaws[0].file, place.log);
}

TEST_F(AuditCheckpointTest, ALogFromAnotherMachineIsFound) {
  write(2);
  sign();
  const AuditVerdict verdict = verify({.machine = "another"});
  ASSERT_FALSE(verdict.sound());
  EXPECT_THAT(verdict.flaws[0].what, HasSubstr("another machine"));
}

TEST_F(AuditCheckpointTest, AnotherKeyDoesNotPass) {
  write(2);
  sign();
  write_secret_file(audit::folder_of(place.log) / "key.pem",
                    audit::CheckpointKey::generate().to_pem());
  EXPECT_THAT(what(), HasSubstr("not signed"));
  std::filesystem::remove(audit::folder_of(place.log) / "key.pem");
  EXPECT_THAT(what(), HasSubstr("key"));
  write(1);
  // No new key by itself: that would hide that the old one is gone.
  EXPECT_THROW(audit::make_checkpoint(place), Error);
}

TEST_F(AuditCheckpointTest, ACheckpointKeptElsewhereFindsWhatIsGoneHere) {
  write(2);
  sign();
  write(3);
  const Path saved = folder / "saved";
  std::filesystem::copy(folder / "state", saved, std::filesystem::copy_options::recursive);
  write(1);
  sign();
  const auto note = audit::parse_note(*audit::last_note(place.log));
  // The whole state as it was, signatures and all.
  std::filesystem::remove_all(folder / "state");
  std::filesystem::rename(saved, folder / "state");
  EXPECT_EQ(what(), "sound");
  const AuditVerdict verdict = verify({.elsewhere = {{"mail", *note}}});
  ASSERT_FALSE(verdict.sound());
  EXPECT_THAT(verdict.flaws[0].what, HasSubstr("mail"));
  const audit::Anchored anchored{.size = 6, .root = note->checkpoint.root, .log = verdict.log};
  EXPECT_THAT(verify({.anchored = anchored}).flaws.at(0).what, HasSubstr("the TPM"));
}

TEST_F(AuditCheckpointTest, ATornCheckpointIsPassedOverAndReplaced) {
  write(2);
  sign();
  const Path path = audit::checkpoints_of(place.log);
  const std::string first = read_file(path);
  write(2);
  sign();
  const std::string both = read_file(path);
  for (std::size_t size = first.size(); size < both.size(); ++size) {
    write_file(path, both.substr(0, size));
    ASSERT_EQ(audit::last_checkpoint(place.log)->size, 2U) << size;
    ASSERT_EQ(what(), "sound") << size;
  }
  for (const std::size_t size : {first.size() + 3, both.size() - 1}) {
    write_file(path, both.substr(0, size));
    sign();
    EXPECT_EQ(read_file(path), both);
  }
  edit(path, "\n2\n", "\n02\n");
  EXPECT_NE(what(), "sound");
}

TEST_F(AuditCheckpointTest, FilesAreClosedAndTheChainGoesOn) {
  three_files();
  const AuditVerdict verdict = verify();
  EXPECT_TRUE(verdict.sound()) << verdict.flaws[0].what;
  EXPECT_EQ(verdict.files, 4U);
  EXPECT_TRUE(read_audit_log(place.log).flaws.empty());
  EXPECT_EQ(std::ranges::count(actions(), "audit.rotated"), 3);
  for (std::uint64_t number = 1; number <= 3; ++number)
    EXPECT_GE(std::filesystem::file_size(closed(number)), 4096U);
}

// What is computed from any state of tree.json is the same.
TEST_F(AuditCheckpointTest, TheTreeIsComputedAgainWhereItsNoteDoesNotFit) {
  three_files();
  const Path note = audit::folder_of(place.log) / "tree.json";
  const std::string good = read_file(note);
  for (const std::string& bad :
       {std::string(), std::string("{}"), good.substr(0, 40), std::string("\0\xff", 2)}) {
    write_file(note, bad);
    write(1);
    // That may have closed a file, and signed it.
    audit::make_checkpoint(place);
    EXPECT_EQ(what(), "sound");
    EXPECT_EQ(verify().signed_lines, verify().lines);
  }
  std::filesystem::remove(note);
  write(1);
  audit::make_checkpoint(place);
  write_file(note, good);
  write(1);
  audit::make_checkpoint(place);
  EXPECT_EQ(what(), "sound");
  EXPECT_EQ(verify().signed_lines, verify().lines);
}

TEST_F(AuditCheckpointTest, AMissingFileIsNamed) {
  three_files();
  std::filesystem::remove(closed(2));
  AuditVerdict verdict = verify();
  ASSERT_FALSE(verdict.sound());
  EXPECT_EQ(verdict.flaws[0].file, closed(2));
  EXPECT_EQ(verdict.flaws.size(), 1U) << verdict.flaws[1].what;
  std::filesystem::remove(closed(1));
  verdict = verify();
  EXPECT_EQ(verdict.flaws[0].file, closed(1));
  std::filesystem::remove(place.log);
  EXPECT_THAT(verify().flaws.back().what, HasSubstr("has had"));
}

TEST_F(AuditCheckpointTest, SwappedFilesAreFound) {
  three_files();
  std::filesystem::rename(closed(1), folder / "one");
  std::filesystem::rename(closed(2), closed(1));
  std::filesystem::rename(folder / "one", closed(2));
  const AuditVerdict verdict = verify();
  ASSERT_FALSE(verdict.sound());
  EXPECT_EQ(verdict.flaws[0].file, closed(1));
  EXPECT_EQ(verdict.flaws[0].line, 1U);
}

TEST_F(AuditCheckpointTest, AnEditInAClosedFileIsNamed) {
  three_files();
  edit(closed(2), "\"unlock\"", "\"unlick\"");
  const AuditVerdict verdict = verify();
  ASSERT_FALSE(verdict.sound());
  EXPECT_EQ(verdict.flaws[0].file, closed(2));
  EXPECT_EQ(verdict.flaws[0].line, 2U);
}

TEST_F(AuditCheckpointTest, ACutWhileAFileIsClosedLosesNothing) {
  write(9);
  // Renamed, and no new one begun.
  std::filesystem::create_directories(audit::folder_of(place.log));
  auto files = audit::closed_files(place.log).size();
  std::filesystem::rename(place.log, closed(files + 1));
  write(2);
  EXPECT_EQ(what(), "sound");
  // Begun, and nothing in it yet.
  files = audit::closed_files(place.log).size();
  std::filesystem::rename(place.log, closed(files + 1));
  write_file(place.log, "");
  write(1);
  EXPECT_EQ(verify().signed_lines, verify().lines);
  EXPECT_EQ(what(), "sound");
}

TEST_F(AuditCheckpointTest, ProcessesWriteCloseAndSignAtOnce) {
  place.rules.checkpoint_every = 7;
  constexpr int writers = 4;
  constexpr int events = 40;
  std::vector<pid_t> children;
  for (int writer = 0; writer < writers; ++writer) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        write(events);
        ::_exit(0);
      } catch (...) {
        ::_exit(1);
      }
    }
    children.push_back(child);
  }
  // A reader in between sees a log that is sound so far.
  for (int i = 0; i < 20; ++i) {
    try {
      EXPECT_EQ(what(), "sound");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::not_found);
    }
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(what(), "sound");
  EXPECT_EQ(std::ranges::count(actions(), "unlock"), writers * events);
  EXPECT_GT(verify().checkpoints, 10U);
}

// In a child, whose files may not grow beyond `size`, as on a full disk.
template <typename Call>
int with_room(std::uint64_t size, Call call) {
  const pid_t child = ::fork();
  if (child == 0) {
    (void)::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = size, .rlim_max = size};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      call();
      ::_exit(0);
    } catch (const Error& error) {
      ::_exit(error.code() == Code::no_space ? 1 : 2);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(AuditCheckpointTest, WhatFoundNoRoomIsRecordedOnceThereIsSome) {
  place.rules.rotate_at = 0;
  write(4);
  const std::string before = read_file(place.log);
  EXPECT_EQ(with_room(before.size() + 100, [&] { write(1); }), 1);
  EXPECT_EQ(with_room(before.size() + 100, [&] { write(1); }), 1);
  EXPECT_EQ(read_file(place.log), before);
  write(1);
  EXPECT_THAT(actions(),
              ElementsAre("unlock", "unlock", "unlock", "unlock", "audit.gap", "unlock"));
  const AuditReading reading = read_audit_log(place.log);
  EXPECT_EQ(reading.records[4].event.detail.at("count"), "2");
  EXPECT_THAT(reading.records[4].event.detail.at("events"), HasSubstr("unlock ok"));
  EXPECT_FALSE(std::filesystem::exists(place.rules.gap));
  EXPECT_EQ(what(), "sound");
}

TEST_F(AuditCheckpointTest, ThePolicyMayGoOnWithoutRoom) {
  place.rules.rotate_at = 0;
  place.rules.go_on_when_full = true;
  write(4);
  EXPECT_EQ(with_room(read_file(place.log).size() + 100, [&] { write(3); }), 0);
  write(1);
  EXPECT_EQ(read_audit_log(place.log).records.at(4).event.detail.at("count"), "3");
}

TEST_F(AuditCheckpointTest, AClockThatWasSetBackIsRecordedOnce) {
  write(1);
  // The log says that it was written an hour from now, by this boot's clock just before.
  AuditReading reading = read_audit_log(place.log);
  AuditRecord record = reading.records.at(0);
  record.time = "2999-01-01T00:00:00.000Z";
  write_file(place.log, audit::to_line(record) + "\n");
  write(2);
  EXPECT_THAT(actions(), ElementsAre("unlock", "audit.clock", "unlock", "unlock"));
  EXPECT_EQ(what(), "sound");
}

TEST_F(AuditCheckpointTest, AClockSetBackBetweenTwoEventsIsSeenByTheBootClock) {
  write(1);
  AuditRecord record = read_audit_log(place.log).records.at(0);
  // An hour of boot time ago, and by the wall clock only now.
  record.boot_ms -= 3'600'000;
  write_file(place.log, audit::to_line(record) + "\n");
  write(1);
  EXPECT_THAT(actions(), ElementsAre("unlock", "audit.clock", "unlock"));
  // Of another boot, whose clock says nothing here.
  record.boot_id = "another";
  write_file(place.log, audit::to_line(record) + "\n");
  write(1);
  EXPECT_THAT(actions(), ElementsAre("unlock", "unlock"));
}

TEST(AuditNoteTest, OnlyTheOneSpellingIsRead) {
  const audit::CheckpointKey key = audit::CheckpointKey::generate();
  const std::string good = key.sign({.origin = "volseal-audit/m/l", .size = 10});
  ASSERT_TRUE(audit::parse_note(good));
  const auto refused = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return !audit::parse_note(text);
  };
  EXPECT_TRUE(refused("\n10\n", "\n010\n"));
  EXPECT_TRUE(refused("\n10\n", "\n-1\n"));
  EXPECT_TRUE(refused("\n10\n", "\n10 \n"));
  EXPECT_TRUE(refused("\n10\n", "\n99999999999999999999\n"));
  EXPECT_TRUE(refused("=\n\n", "=\nmore\n\n"));
  EXPECT_TRUE(refused("=\n\n", "\n\n"));
  EXPECT_TRUE(refused("\xe2\x80\x94 ", "- "));
  EXPECT_TRUE(refused("volseal-audit/m/l", "volseal audit"));
  EXPECT_FALSE(audit::parse_note(good.substr(0, good.size() - 1)));
  EXPECT_FALSE(audit::parse_note(good + "\n"));
  EXPECT_FALSE(audit::parse_note(good + good));
}

}  // namespace
}  // namespace volseal
