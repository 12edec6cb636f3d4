// What volseal audit verify finds, and where.
#include "core/audit/files.h"
#include "core/audit/lines.h"
#include "core/audit/reader.h"
#include "core/audit/record.h"
#include "core/audit/tree.h"
#include "core/audit/verify.h"
#include "core/base/error.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class AuditVerifyTest : public ::testing::Test {
 protected:
  AuditVerifyTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "volseal-audit.XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
    path = folder / "audit.log";
  }
  ~AuditVerifyTest() override { std::filesystem::remove_all(folder); }

  void write(int events) const {
    const AuditLog log(path, "test");
    for (int i = 0; i < events; ++i)
      log.record(
          {.action = "unlock", .outcome = "opened", .volume = "/dev/sd" + std::to_string(i)});
  }

  std::vector<std::string> lines() const {
    std::vector<std::string> all;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }
  void put(const std::vector<std::string>& all) const {
    std::ofstream out(path, std::ios::trunc);
    for (const std::string& line : all) out << line << '\n';
  }

  Path folder;
  Path path;
};

TEST_F(AuditVerifyTest, ALogAsItWasWrittenIsSound) {
  write(7);
  const AuditVerdict verdict = verify_audit_log(path);
  EXPECT_TRUE(verdict.sound());
  EXPECT_EQ(verdict.events, 7U);
  EXPECT_EQ(verdict.lines, 7U);
  EXPECT_EQ(verdict.files, 1U);
  EXPECT_EQ(verdict.bytes, std::filesystem::file_size(path));
}

TEST_F(AuditVerifyTest, EachEditedLineIsNamed) {
  write(6);
  const std::vector<std::string> good = lines();
  for (std::size_t at = 0; at + 1 < good.size(); ++at) {
    std::vector<std::string> bad = good;
    const auto digit = bad[at].find("/dev/sd") + 7;
    bad[at][digit] = 'z';
    put(bad);
    const AuditVerdict verdict = verify_audit_log(path);
    ASSERT_EQ(verdict.flaws.size(), 1U) << at;
    EXPECT_EQ(verdict.flaws[0].line, at + 1);
    EXPECT_EQ(verdict.flaws[0].file, path);
  }
}

TEST_F(AuditVerifyTest, ALineThatIsNoEventIsNamedOnce) {
  write(4);
  std::vector<std::string> bad = lines();
  bad[1] = "none of ours";
  put(bad);
  const AuditVerdict verdict = verify_audit_log(path);
  ASSERT_FALSE(verdict.sound());
  EXPECT_EQ(verdict.flaws[0].line, 2U);
  EXPECT_THAT(verdict.flaws[0].what, HasSubstr("not an event"));
}

TEST_F(AuditVerifyTest, RemovedAndSwappedLinesAreNamed) {
  write(6);
  std::vector<std::string> bad = lines();
  bad.erase(bad.begin() + 2);
  put(bad);
  EXPECT_EQ(verify_audit_log(path).flaws.at(0).line, 3U);
  bad = lines();
  std::swap(bad[1], bad[2]);
  put(bad);
  EXPECT_EQ(verify_audit_log(path).flaws.at(0).line, 2U);
}

TEST_F(AuditVerifyTest, AFirstLineThatIsGoneIsFound) {
  write(3);
  std::vector<std::string> bad = lines();
  bad.erase(bad.begin());
  put(bad);
  EXPECT_EQ(verify_audit_log(path).flaws.at(0).line, 1U);
}

TEST_F(AuditVerifyTest, ATornLastLineIsSaidAndIsNoFlaw) {
  write(3);
  std::string text = read_file(path);
  write_file(path, text.substr(0, text.size() - 20));
  const AuditVerdict verdict = verify_audit_log(path);
  EXPECT_TRUE(verdict.sound());
  EXPECT_TRUE(verdict.torn);
  EXPECT_EQ(verdict.lines, 2U);
}

TEST_F(AuditVerifyTest, OnlyAHundredFlawsAreKept) {
  write(1);
  std::vector<std::string> bad(301, lines()[0]);
  put(bad);
  const AuditVerdict verdict = verify_audit_log(path);
  EXPECT_EQ(verdict.flaws.size(), 100U);
  EXPECT_EQ(verdict.more_flaws, 200U);
}

TEST_F(AuditVerifyTest, AnEndlessLineIsAFlawAndTakesNoMemory) {
  write(2);
  std::ofstream(path, std::ios::app) << std::string(3U << 20U, 'x') << '\n';
  const AuditVerdict verdict = verify_audit_log(path);
  ASSERT_EQ(verdict.flaws.size(), 1U);
  EXPECT_EQ(verdict.flaws[0].line, 3U);
}

TEST_F(AuditVerifyTest, NoLogIsAnError) {
  EXPECT_THROW(verify_audit_log(path), Error);
}

TEST_F(AuditVerifyTest, EventsThatAreNotWantedAreNotRead) {
  write(2);
  AuditLog(path).record({.action = "scan"});
  std::vector<std::string> actions;
  for_each_event(path, R"("outcome":"opened")", [&](const AuditRecord& record, std::string_view) {
    actions.push_back(record.event.action);
  });
  EXPECT_THAT(actions, ElementsAre("unlock", "unlock"));
}

TEST(AuditLinesTest, LinesOfAnySizeComeWhole) {
  std::string pattern = (std::filesystem::temp_directory_path() / "volseal-lines.XXXXXX").native();
  const UniqueFd fd(::mkstemp(pattern.data()));
  // Around the size of one read, where a line may end on its last byte.
  std::vector<std::string> written;
  std::string text;
  for (const std::size_t size : {0U, 1U, 262143U, 262144U, 262145U, 5U, 600000U, 0U, 77U}) {
    written.emplace_back(size, static_cast<char>('a' + written.size()));
    text += written.back() + "\n";
  }
  text += "end";
  write_all(fd.get(), text, "the test's file");
  audit::LineReader reader(fd.get(), pattern, 0, text.size());
  for (const std::string& expected : written) {
    const auto line = reader.next();
    ASSERT_TRUE(line);
    EXPECT_TRUE(line->ended);
    EXPECT_TRUE(line->text == expected) << expected.size();
  }
  const auto last = reader.next();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->text, "end");
  EXPECT_FALSE(last->ended);
  EXPECT_FALSE(reader.next());
  EXPECT_EQ(reader.offset(), text.size());
  std::filesystem::remove(pattern);
}

// RFC 6962 has no vectors; these are those of the certificate-transparency project, whose leaves
// are these bytes.
TEST(AuditTreeTest, RootsAreThoseOfRfc6962) {
  const std::vector<std::string> leaves = {
      "",
      std::string(1, '\0'),
      "\x10",
      "\x20\x21",
      "\x30\x31",
      "\x40\x41\x42\x43",
      "\x50\x51\x52\x53\x54\x55\x56\x57",
      "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"};
  const std::vector<std::string> roots = {
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
      "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
      "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
      "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
      "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
      "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
  audit::Hasher hasher;
  audit::Tree tree;
  for (std::size_t size = 0; size < roots.size(); ++size) {
    EXPECT_EQ(tree.size(), size);
    EXPECT_EQ(audit::hex(tree.root(hasher)), roots[size]);
    // What is written down of it goes on as if it had never been.
    const auto again = audit::Tree::from(size, tree.peaks());
    ASSERT_TRUE(again);
    EXPECT_EQ(audit::hex(again->root(hasher)), roots[size]);
    EXPECT_FALSE(audit::Tree::from(size + (size == 0 ? 1 : size), "00"));
    if (size < leaves.size()) tree.add(hasher, leaves[size]);
  }
}

// The JSON library is the judge of what the parser reads.
TEST(AuditRecordTest, WhatIsReadIsWhatAJsonLibraryReads) {
  AuditRecord record{.seq = UINT64_MAX,
                     .time = "2026-01-31T00:00:00.000Z",
                     .boot_ms = INT64_MIN,
                     .boot_id = "\x01\x1f\x7f\b\f\n\r\t\"\\/",
                     .host = "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x92\xef\xbf\xbf"};
  record.who = {.loginuid = 0, .uid = UINT32_MAX, .pid = -1, .verb = "v"};
  record.event = {.action = "a", .detail = {{"", ""}, {"k", "\xff"}, {"\xc3\xa4", "x"}}};
  const std::string line = audit::to_line(record);
  const auto json = nlohmann::json::parse(line);
  const auto read = audit::from_line(line);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->seq, json["seq"].get<std::uint64_t>());
  EXPECT_EQ(read->boot_ms, json["boot_ms"].get<std::int64_t>());
  EXPECT_EQ(read->boot_id, json["boot_id"].get<std::string>());
  EXPECT_EQ(read->host, json["host"].get<std::string>());
  EXPECT_EQ(read->who.uid, UINT32_MAX);
  EXPECT_EQ(read->who.loginuid, 0U);
  EXPECT_EQ(read->event.detail, (json["detail"].get<std::map<std::string, std::string>>()));
  EXPECT_EQ(audit::to_line(*read), line);
}

TEST(AuditRecordTest, AnyOtherSpellingIsRefused) {
  const std::string good = audit::to_line({.seq = 10, .host = "h\xc3\xa4\n"});
  ASSERT_TRUE(audit::from_line(good));
  const auto refused = [&](std::string_view from, std::string_view to) {
    std::string line = good;
    line.replace(line.find(from), from.size(), to);
    return !audit::from_line(line);
  };
  EXPECT_TRUE(refused("\"seq\":10", "\"seq\":010"));
  EXPECT_TRUE(refused("\"seq\":10", "\"seq\":+10"));
  EXPECT_TRUE(refused("\"seq\":10", "\"seq\":-10"));
  EXPECT_TRUE(refused("\"seq\":10", "\"seq\":10.0"));
  EXPECT_TRUE(refused("\"seq\":10", "\"seq\":18446744073709551616"));
  EXPECT_TRUE(refused("\"boot_ms\":0", "\"boot_ms\":-0"));
  EXPECT_TRUE(refused("\\u00e4", "\\u00E4"));
  EXPECT_TRUE(refused("\\u00e4", "\xc3\xa4"));
  EXPECT_TRUE(refused("\\u00e4", "\\u0061"));
  EXPECT_TRUE(refused("\\u00e4", "\\ud800"));
  EXPECT_TRUE(refused("\\u00e4", "\\udc00\\ud800"));
  EXPECT_TRUE(refused("\\n", "\\u000a"));
  EXPECT_TRUE(refused("\\n", "\\/"));
  EXPECT_TRUE(refused("\"detail\":{}", "\"detail\":{\"b\":\"\",\"a\":\"\"}"));
  EXPECT_TRUE(refused("\"detail\":{}", "\"detail\":{\"a\":\"\",\"a\":\"\"}"));
  EXPECT_TRUE(refused("\"detail\":{}", "\"detail\":{\"a\":\"\",}"));
  EXPECT_FALSE(refused("\"detail\":{}", "\"detail\":{\"a\":\"\",\"b\":\"\"}"));
  EXPECT_TRUE(refused("\"detail\":{}", "\"detail\":{\"a\":\"" + std::string(1025, 'x') + "\"}"));
  EXPECT_FALSE(audit::from_line(good + " "));
  EXPECT_FALSE(audit::from_line(good.substr(0, good.size() - 1)));
}

}  // namespace
}  // namespace volseal
