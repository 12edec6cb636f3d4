// volseal audit as people use it.
#include "core/audit/audit.h"
#include "core/audit/verify.h"
#include "core/base/process.h"
#include "tests/support/terminal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace volseal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using Json = nlohmann::json;

class AuditVerbTest : public ::testing::Test {
 protected:
  AuditVerbTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "volseal-audit.XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
    log = folder / "state" / "audit.log";
    write_policy("");
  }
  ~AuditVerbTest() override { std::filesystem::remove_all(folder); }

  void write_policy(std::string_view text) const { write_file(folder / "policy.toml", text); }

  ProcessResult volseal(const std::vector<std::string>& arguments,
                        const RunOptions& options = {}) const {
    std::vector<std::string> argv = {VOLSEAL_BINARY,
                                     "--tcti",
                                     "swtpm:path=" + (folder / "no-tpm").native(),
                                     "--policy",
                                     (folder / "policy.toml").native(),
                                     "--state",
                                     (folder / "state").native(),
                                     "audit"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return run(argv, {}, options);
  }

  void write_three() const {
    const AuditLog writer(log, "test");
    writer.record({.action = "unlock",
                   .outcome = "opened",
                   .volume = "/dev/sda1",
                   .luks_uuid = "e9e8d1c6-0a5a-4c0a-9f0e-6a3a4e2b8d11",
                   .group = "default",
                   .detail = {{"protector", "tpm"}}});
    writer.record({.action = "keyslot.add", .volume = "/dev/sdb", .group = "tenant-a"});
    writer.record({.action = "watch.finding",
                   .outcome = "not-covered",
                   .volume = "/dev/sdc\x1b[2J\n",
                   .detail = {{"label", "=cmd()\x1b]0;"}, {"summary", "\xe2\x80\xaetxt.exe"}}});
  }

  std::size_t count(const std::vector<std::string>& selection) const {
    std::vector<std::string> arguments = {"show", "--json"};
    arguments.insert(arguments.end(), selection.begin(), selection.end());
    const ProcessResult result = volseal(arguments);
    EXPECT_EQ(result.status, 0) << result.output;
    return Json::parse(result.output)["events"].size();
  }

  Path folder;
  Path log;
};

TEST_F(AuditVerbTest, ShowSelects) {
  write_three();
  EXPECT_EQ(count({}), 3U);
  EXPECT_EQ(count({"--volume", "/dev/sd[ab]*"}), 2U);
  EXPECT_EQ(count({"--volume", "e9e8d1c6-0a5a-4c0a-9f0e-6a3a4e2b8d11"}), 1U);
  EXPECT_EQ(count({"--group", "tenant-a"}), 1U);
  EXPECT_EQ(count({"--action", "watch.*"}), 1U);
  EXPECT_EQ(count({"--action", "unlock", "--group", "tenant-a"}), 0U);
  EXPECT_EQ(count({"--since", "1h"}), 3U);
  EXPECT_EQ(count({"--since", "2999-01-01"}), 0U);
  EXPECT_EQ(count({"--since", "2020-01-01T12:30"}), 3U);
  EXPECT_EQ(count({"--who", "nobody-of-this-name"}), 0U);
  EXPECT_EQ(volseal({"show", "--since", "yesterday"}).status, 64);
  EXPECT_EQ(volseal({"show", "--since", "2026-13-01"}).status, 64);
}

TEST_F(AuditVerbTest, TheNewestIsLastAndOlderOnesAreCounted) {
  write_three();
  const Json shown = Json::parse(volseal({"show", "--json", "--last", "2"}).output);
  EXPECT_EQ(shown["left_out"], 1);
  EXPECT_EQ(shown["events"][0]["action"], "keyslot.add");
  EXPECT_EQ(shown["events"][1]["action"], "watch.finding");
}

TEST_F(AuditVerbTest, NothingOfADevicePlaysWithTheTerminal) {
  write_three();
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"show"}, {"export"}, {"export", "--format", "csv"}}) {
    const ProcessResult result = volseal(arguments);
    EXPECT_EQ(result.status, 0);
    EXPECT_THAT(result.output, Not(HasSubstr("\x1b")));
    EXPECT_THAT(result.output, Not(HasSubstr("\xe2\x80\xae")));
  }
}

TEST_F(AuditVerbTest, TheTableFits) {
  write_three();
  const ProcessResult result = volseal({"show"}, {.variables = {"COLUMNS=80"}});
  std::istringstream in(result.output);
  for (std::string line; std::getline(in, line);) EXPECT_LE(line.size(), 80U) << line;
  EXPECT_THAT(result.output, HasSubstr("keyslot.add"));
}

TEST_F(AuditVerbTest, ExportGivesTheLinesThemselves) {
  write_three();
  EXPECT_EQ(volseal({"export"}).output, read_file(log));
  const ProcessResult csv = volseal({"export", "--format", "csv", "--action", "keyslot.add"});
  EXPECT_THAT(csv.output, HasSubstr("\"/dev/sdb\",\"\",\"tenant-a\",\"{}\"\r\n"));
}

TEST_F(AuditVerbTest, VerifySaysWhereTheFirstBadLineIs) {
  write_three();
  EXPECT_NE(volseal({"verify"}).status, 5);
  std::string text = read_file(log);
  text.replace(text.find("/dev/sdb"), 8, "/dev/sdx");
  write_file(log, text);
  const ProcessResult said = volseal({"verify"});
  EXPECT_EQ(said.status, 5);
  EXPECT_THAT(said.output, HasSubstr("audit.log line 2"));
  const Json json = Json::parse(volseal({"verify", "--json"}).output);
  EXPECT_EQ(json["sound"], false);
  EXPECT_EQ(json["first_bad"]["line"], 2);
  EXPECT_EQ(json["first_bad"]["file"], log.native());
}

TEST_F(AuditVerbTest, VerifyWantsACheckpoint) {
  write_three();
  EXPECT_EQ(volseal({"verify"}).status, 1);
  const ProcessResult note = volseal({"checkpoint"});
  EXPECT_EQ(note.status, 0);
  EXPECT_THAT(note.output, HasSubstr("\n3\n"));
  EXPECT_EQ(volseal({"verify"}).status, 0);
  // Nothing new: the same one.
  EXPECT_EQ(volseal({"checkpoint"}).output, note.output);
}

TEST_F(AuditVerbTest, ACopyIsVerifiedElsewhereByThePublicKey) {
  EXPECT_EQ(volseal({"key"}).status, 4);
  write_three();
  write_file(folder / "note", volseal({"checkpoint"}).output);
  write_file(folder / "key", volseal({"key"}).output);
  const Path copy = folder / "copy";
  std::filesystem::copy(folder / "state", copy, std::filesystem::copy_options::recursive);
  std::filesystem::remove(copy / "audit" / "key.pem");
  const std::vector<std::string> arguments = {"verify",
                                              "--log",
                                              (copy / "audit.log").native(),
                                              "--key",
                                              (folder / "key").native(),
                                              "--checkpoint",
                                              (folder / "note").native()};
  EXPECT_EQ(volseal(arguments).status, 0) << volseal(arguments).output;
  // Cut, and its checkpoint with it: the one that was kept elsewhere says so.
  std::string text = read_file(copy / "audit.log");
  write_file(copy / "audit.log", text.substr(0, text.find('\n') + 1));
  std::filesystem::remove(copy / "audit" / "checkpoints");
  EXPECT_EQ(volseal(arguments).status, 5);
  write_file(folder / "note", "no checkpoint\n");
  EXPECT_EQ(volseal(arguments).status, 5);
  write_file(folder / "key", "no key\n");
  EXPECT_EQ(volseal(arguments).status, 4);
}

TEST_F(AuditVerbTest, CheckpointsAreHandedOutUntilTheyAreAcknowledged) {
  write_three();
  const Path store = folder / "store";
  write_policy("[audit]\nanchor = [\"/bin/sh\", \"-c\", \"test -e " + (folder / "up").native() +
               " && cat >> " + store.native() + "\"]\n");
  EXPECT_EQ(volseal({"checkpoint"}).status, 1);
  EXPECT_FALSE(std::filesystem::exists(store));
  write_file(folder / "up", "");
  EXPECT_EQ(volseal({"checkpoint"}).status, 0);
  const std::string note = read_file(store);
  EXPECT_EQ(note, read_file(folder / "state" / "audit" / "checkpoints"));
  // Once is enough.
  EXPECT_EQ(volseal({"checkpoint"}).status, 0);
  EXPECT_EQ(read_file(store), note);
  write_policy("[audit]\nanchor = [\"/bin/sleep\", \"60\"]\ntimeout = 1\n");
  write_three();
  const ProcessResult slow = volseal({"checkpoint"});
  EXPECT_EQ(slow.status, 1);
  EXPECT_THAT(slow.output, HasSubstr("did not end within 1 s"));
}

// Who typed it, where, and from which machine, though sudo drops the variable that says so: the
// shell above still has it.
TEST_F(AuditVerbTest, AnEventSaysWhoDidItFromWhere) {
  const Path image = folder / "image";
  std::ofstream(image).close();
  std::filesystem::resize_file(image, 20U << 20U);
  write_file(folder / "key", "passphrase");
  run_or_throw({"cryptsetup", "luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations",
                "1000", image.native(), (folder / "key").native()});
  const std::string policy = (folder / "policy.toml").native();
  test::Terminal terminal(
      {"/usr/bin/env", "SSH_CONNECTION=192.0.2.7 50022 198.51.100.1 22", "/bin/sh", "-c",
       "tty; env -u SSH_CONNECTION " VOLSEAL_BINARY " --policy " + policy + " --state " +
           (folder / "state").native() + " protector test --key-file " + (folder / "key").native() +
           " " + image.native() + "; true"});
  ASSERT_EQ(terminal.wait(), 0) << terminal.shown();
  const auto records = read_audit_log(log).records;
  ASSERT_FALSE(records.empty());
  for (const AuditRecord& record : records) {
    const Actor& who = record.who;
    EXPECT_THAT(terminal.shown(), HasSubstr(who.tty));
    EXPECT_THAT(who.tty, HasSubstr("/dev/pts/"));
    EXPECT_EQ(who.ssh, "192.0.2.7 50022 198.51.100.1 22");
    EXPECT_EQ(who.uid, ::getuid());
    EXPECT_EQ(who.euid, ::geteuid());
    EXPECT_EQ(who.program, "volseal");
    EXPECT_EQ(who.verb, "protector");
    const std::string login = read_file_if_any("/proc/self/loginuid").value_or("4294967295");
    EXPECT_EQ(who.loginuid ? std::to_string(*who.loginuid) : "4294967295", login);
    EXPECT_EQ(record.boot_id + "\n", read_file("/proc/sys/kernel/random/boot_id"));
  }
}

TEST_F(AuditVerbTest, NoLogIsAFailure) {
  EXPECT_EQ(volseal({"verify"}).status, 4);
  EXPECT_EQ(volseal({"show"}).status, 4);
}

}  // namespace
}  // namespace volseal
