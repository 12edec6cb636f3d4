// The program as people use it: exit statuses, what it says, and that bad input changes nothing.
#include "tests/support/image.h"
#include "tests/support/swtpm.h"
#include "tests/support/terminal.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <regex>
#include <sstream>
#include <thread>

namespace volseal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

struct Result {
  int status = 0;
  std::string out;
  std::string err;
};

class CliTest : public ImageTest {
 protected:
  CliTest() {
    swtpm.extend(7, "firmware");
    write_file(folder / "policy.toml", "");
  }

  // A shell only to keep the two outputs apart; the arguments are passed as they are.
  Result volseal(const std::vector<std::string>& arguments, const std::string& input = {}) const {
    std::vector<std::string> argv = {"sh",
                                     "-c",
                                     R"(out=$1; err=$2; shift 2; exec "$@" >"$out" 2>"$err")",
                                     "sh",
                                     (folder / "stdout").native(),
                                     (folder / "stderr").native()};
    std::ranges::copy(command(arguments), std::back_inserter(argv));
    const int status = run(argv, input).status;
    return {
        .status = status, .out = read_file(folder / "stdout"), .err = read_file(folder / "stderr")};
  }

  std::vector<std::string> command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> argv = {VOLSEAL_BINARY,
                                     "--tcti",
                                     swtpm.tcti(),
                                     "--policy",
                                     (folder / "policy.toml").native(),
                                     "--state",
                                     (folder / "state").native()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return argv;
  }

  // A LUKS2 image made by somebody else, that "passphrase" opens.
  Path luks2(const std::string& name) const {
    const Path image = blank(name, 32);
    write_file(folder / "key", "passphrase");
    run_or_throw({"cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2",
                  "--pbkdf-force-iterations", "1000", image.native(), (folder / "key").native()});
    return image;
  }

  std::string key() const { return (folder / "key").native(); }

  test::Swtpm swtpm;
};

TEST_F(CliTest, SaysWhatItIsAndHowItIsUsed) {
  EXPECT_EQ(volseal({"--help"}).status, 0);
  EXPECT_THAT(volseal({"--version"}).out, MatchesRegex("volseal [0-9.]+\n"));
  for (const char* verb :
       {"scan", "check", "plan", "policy", "enroll", "protector", "tpm", "unlock"}) {
    EXPECT_EQ(volseal({verb, "--help"}).status, 0) << verb;
    EXPECT_THAT(volseal({"--help"}).out, HasSubstr(verb));
  }
  EXPECT_EQ(volseal({}).status, 64);
  EXPECT_EQ(volseal({"no-such-verb"}).status, 64);
  EXPECT_EQ(volseal({"protector", "add", "thumbprint", "x"}).status, 64);
  EXPECT_EQ(volseal({"unlock"}).status, 64);
}

TEST_F(CliTest, ARecoveryKeyIsPrintedAloneAndOpensWithCryptsetup) {
  const Path image = luks2("disk.img");
  const Result added =
      volseal({"protector", "add", "recovery-key", image.native(), "--key-file", key()});
  ASSERT_EQ(added.status, 0) << added.err;
  EXPECT_THAT(added.out, MatchesRegex("[cbdefghijklnrtuv]{8}(-[cbdefghijklnrtuv]{8}){7}\n"));
  EXPECT_THAT(added.err, Not(HasSubstr(added.out.substr(0, 8))));

  const std::string recovery = added.out.substr(0, 71);
  write_file(folder / "recovery", recovery);
  EXPECT_EQ(run({"cryptsetup", "open", "--test-passphrase", "--key-file",
                 (folder / "recovery").native(), image.native()})
                .status,
            0);
  EXPECT_THAT(run({"systemd-cryptenroll", image.native()}).output, HasSubstr("recovery"));

  // As a person types it: capitals, no dashes.
  std::string typed = recovery;
  std::erase(typed, '-');
  std::ranges::transform(typed, typed.begin(),
                         [](char c) { return static_cast<char>(c - 'a' + 'A'); });
  EXPECT_EQ(volseal({"unlock", "--test", "--key-file", "-", image.native()}, typed + "\n").status,
            0);
  EXPECT_EQ(volseal({"unlock", "--test", "--key-file", "-", image.native()}, "wrong\n").status, 6);
}

TEST_F(CliTest, TheTpmOpensUntilThePcrMoves) {
  const Path image = luks2("disk.img");
  const Result added = volseal({"protector", "add", "tpm", image.native(), "--key-file", key()});
  ASSERT_EQ(added.status, 0) << added.err;
  EXPECT_THAT(volseal({"protector", "list", image.native()}).out,
              AllOf(HasSubstr("tpm"), HasSubstr("default")));
  EXPECT_THAT(volseal({"protector", "list", "--json", image.native()}).out,
              HasSubstr(R"("kind": "tpm")"));
  EXPECT_EQ(volseal({"unlock", "--test", image.native()}).status, 0);
  EXPECT_EQ(volseal({"protector", "test", image.native()}).status, 0);

  swtpm.extend(7, "another boot loader");
  const Result refused = volseal({"unlock", "--test", image.native()});
  EXPECT_EQ(refused.status, 7);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("policy-mismatch"), HasSubstr("PCR 7"), HasSubstr("recovery key")));
  EXPECT_EQ(volseal({"unlock", "--test", "--key-file", key(), image.native()}).status, 0);
}

TEST_F(CliTest, WithoutATpmItSaysSoAndTheKeyStillOpens) {
  const Path image = luks2("disk.img");
  ASSERT_EQ(volseal({"protector", "add", "tpm", image.native(), "--key-file", key()}).status, 0);
  swtpm.stop();
  const Result refused = volseal({"unlock", "--test", image.native()});
  EXPECT_EQ(refused.status, 7);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("unavailable"), HasSubstr("--tcti")));
  EXPECT_EQ(volseal({"unlock", "--test", "--key-file", key(), image.native()}).status, 0);
}

TEST_F(CliTest, TheLastWayInIsNotRemoved) {
  const Path image = luks2("disk.img");
  const std::string before = digest(image);
  const Result refused =
      volseal({"protector", "remove", image.native(), "--keyslot", "0", "--key-file", key()});
  EXPECT_NE(refused.status, 0);
  EXPECT_EQ(digest(image), before);

  ASSERT_EQ(
      volseal({"protector", "add", "recovery-key", image.native(), "--key-file", key()}).status, 0);
  // What is given must open something that stays.
  EXPECT_EQ(volseal({"protector", "remove", image.native(), "--keyslot", "0", "--key-file", key()})
                .status,
            6);
  EXPECT_EQ(volseal({"protector", "remove", image.native(), "--keyslot", "1", "--key-file", key()})
                .status,
            0);
  EXPECT_THAT(volseal({"protector", "list", image.native()}).out, Not(HasSubstr("recovery-key")));
}

TEST_F(CliTest, BadHeadersAreNamedAndLeftAlone) {
  const Path absent = folder / "absent";
  const Path empty = blank("empty.img", 0);
  const Path nothing = blank("blank.img", 32);
  const Path garbage = luks2("garbage.img");
  for (const std::streamoff at : {5000, 16384 + 5000}) {
    std::fstream file(garbage);
    file.seekp(at);
    file << "garbage";
  }
  const Path cut_off = luks2("cut.img");
  std::filesystem::resize_file(cut_off, 6000);

  struct Case {
    Path image;
    int status;
    std::string says;
  };
  for (const auto& [image, status, says] :
       {Case{.image = absent, .status = 4, .says = "no such"},
        Case{.image = empty, .status = 4, .says = "there is none"},
        Case{.image = nothing, .status = 4, .says = "there is none"},
        Case{.image = garbage, .status = 4, .says = "checksum"},
        Case{.image = cut_off, .status = 4, .says = "cut off"}}) {
    const std::string before = std::filesystem::exists(image) ? digest(image) : "";
    for (const std::vector<std::string>& verb :
         {std::vector<std::string>{"unlock", "--test", image.native()},
          {"protector", "add", "recovery-key", image.native(), "--key-file", key()},
          {"protector", "add", "tpm", image.native(), "--key-file", key()}}) {
      const Result result = volseal(verb);
      EXPECT_EQ(result.status, status) << verb[0] << " " << image << "\n" << result.err;
      EXPECT_THAT(result.err, HasSubstr(says)) << image;
      // One line what, one line what to do.
      EXPECT_EQ(std::ranges::count(result.err, '\n'), 2) << result.err;
    }
    if (!before.empty()) {
      EXPECT_EQ(digest(image), before) << image;
    }
  }
}

TEST_F(CliTest, AWrongKeyAddsNothing) {
  const Path image = luks2("disk.img");
  const std::string before = digest(image);
  const Result refused =
      volseal({"protector", "add", "recovery-key", image.native(), "--key-file", "-"}, "wrong\n");
  EXPECT_EQ(refused.status, 6);
  EXPECT_EQ(refused.out, "");
  EXPECT_EQ(digest(image), before);
}

TEST_F(CliTest, ATypoInThePolicyNamesItsLine) {
  write_file(folder / "policy.toml", "# a comment\n[volumes]\ncipherr = \"aes-xts-plain64\"\n");
  for (const std::vector<std::string>& verb :
       {std::vector<std::string>{"check"}, {"plan"}, {"enroll"}}) {
    const Result result = volseal(verb);
    EXPECT_EQ(result.status, 78) << verb[0];
    EXPECT_THAT(result.err, AllOf(HasSubstr("policy.toml:3"), HasSubstr("cipherr"))) << verb[0];
  }
}

TEST_F(CliTest, AFullDiskBehindStandardOutputIsAnError) {
  const Path image = luks2("disk.img");
  const auto result =
      run({"sh", "-c",
           std::string(VOLSEAL_BINARY) + " protector list " + image.native() + " > /dev/full"});
  EXPECT_EQ(result.status, 4);
}

// For images that are made before the machine that boots them.
TEST_F(CliTest, EnrollsAnImageFile) {
  const Path image = ext4("disk.img", 96);
  const Result done = volseal(
      {"enroll", "--yes", "--recovery-key-dir", (folder / "keys").native(), image.native()});
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("is encrypted"));
  EXPECT_EQ(volseal({"unlock", "--test", image.native()}).status, 0);
  EXPECT_EQ(volseal({"check", image.native()}).status, 0);
  const Path key = std::filesystem::directory_iterator(folder / "keys")->path();
  EXPECT_EQ(
      run({"cryptsetup", "open", "--test-passphrase", "--key-file", key.native(), image.native()})
          .status,
      0);
}

// The key as it stands on the screen; "" where there is none.
std::string key_on(const std::string& screen) {
  std::smatch match;
  return std::regex_search(screen, match,
                           std::regex("[cbdefghijklnrtuv]{8}(-[cbdefghijklnrtuv]{8}){7}"))
             ? match.str()
             : "";
}

std::size_t times(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// Somebody writes the key down: it is shown once, what is typed is not, and it opens the volume.
TEST_F(CliTest, HandsTheRecoveryKeyToWhoSitsThere) {
  const Path image = ext4("disk.img", 96);
  test::Terminal terminal(command({"enroll", "--yes", image.native()}));
  terminal.expect("Recovery key of");
  terminal.answer("type its last eight letters", "cccccccc\n");
  terminal.expect("that is not its last group");
  const std::string key = key_on(terminal.shown());
  ASSERT_EQ(key.size(), 71U) << terminal.shown();
  terminal.answer("type its last eight letters", key.substr(key.size() - 8) + "\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_EQ(times(terminal.shown(), key), 1U);
  EXPECT_EQ(times(terminal.shown(), key.substr(key.size() - 8)), 1U) << "what was typed is shown";
  write_file(folder / "written-down", key);
  EXPECT_EQ(run({"cryptsetup", "open", "--test-passphrase", "--key-file",
                 (folder / "written-down").native(), image.native()})
                .status,
            0);
  EXPECT_THAT(read_file(folder / "state/audit.log"), Not(HasSubstr(key.substr(0, 17))));
}

// Who does not write it down, or goes away, has the disk that he had.
TEST_F(CliTest, WithoutAWordThatTheKeyIsKeptNothingIsTouched) {
  const Path image = ext4("disk.img", 96);
  const std::string before = digest(image);
  {
    test::Terminal terminal(command({"enroll", "--yes", image.native()}));
    for (int i = 0; i < 3; ++i) terminal.answer("type its last eight letters", "cccccccc\n");
    EXPECT_EQ(terminal.wait(), 4) << terminal.shown();
    EXPECT_THAT(terminal.shown(), HasSubstr("it was not acknowledged; nothing was changed"));
  }
  {
    test::Terminal terminal(command({"enroll", "--yes", image.native()}));
    terminal.answer("type its last eight letters", "\x03");
    EXPECT_EQ(terminal.wait(), 4) << terminal.shown();
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder / "state/enroll"));
  {
    // It is killed.
    test::Terminal terminal(command({"enroll", "--yes", image.native()}));
    terminal.expect("type its last eight letters");
  }
  EXPECT_EQ(digest(image), before);
}

// For programs: every line is JSON, and the last one says how it ended.
TEST_F(CliTest, SpeaksJsonWhileItEnrollsAndPauses) {
  const Path image = ext4("disk.img", 128);
  const std::vector<std::string> enroll = {
      "enroll",     "--yes", "--recovery-key-dir", (folder / "keys").native(),
      "--progress", "json",  image.native()};
  auto slowly = enroll;
  // Three hours, if nobody stops it.
  slowly.insert(slowly.end(), {"--io-limit", "10K"});
  Result stopped;
  std::jthread pause([&] {
    while (!std::filesystem::exists(folder / "stdout") ||
           read_file(folder / "stdout").find("\"event\":\"progress\"") == std::string::npos) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(
        run({VOLSEAL_BINARY, "--state", (folder / "state").native(), "enroll", "--pause"}).status,
        0);
  });
  stopped = volseal(slowly);
  pause.join();
  EXPECT_EQ(stopped.status, 4);
  EXPECT_THAT(stopped.err, HasSubstr("stopped; its data is safe"));
  EXPECT_THAT(stopped.out, HasSubstr(R"("outcome":"paused")"));

  const Result done = volseal(enroll);
  ASSERT_EQ(done.status, 0) << done.err;
  std::istringstream lines(done.out);
  std::vector<std::string> events;
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json.at("schema"), "volseal-enroll-event/1");
    if (events.empty() || events.back() != json.at("event")) events.push_back(json.at("event"));
    if (json.at("event") == "result") {
      EXPECT_EQ(json.at("status"), 0);
      EXPECT_EQ(json.at("volumes").at(0).at("outcome"), "done");
      EXPECT_EQ(json.at("volumes").at(0).at("luks_uuid").get<std::string>().size(), 36U);
    }
  }
  EXPECT_EQ(events.back(), "result");
  EXPECT_THAT(events, ::testing::IsSupersetOf({"step", "progress", "volume", "plan"}));
  EXPECT_EQ(volseal({"unlock", "--test", image.native()}).status, 0);

  const Result nothing = volseal({"enroll", "--json", "--yes", image.native()});
  EXPECT_EQ(nlohmann::json::parse(nothing.out).at("schema"), "volseal-enroll/1");
  EXPECT_THAT(volseal({"enroll", "--pause"}).out, HasSubstr("no enrollment is going on"));
}

// Both are being encrypted when the stop comes; both go on.
TEST_F(CliTest, EncryptsTwoVolumesAtOnce) {
  const Path one = ext4("one.img", 96);
  // Where no disk turns for both.
  const Path memory = "/dev/shm" / folder.filename();
  std::filesystem::create_directory(memory);
  const Finally tidy([&] { std::filesystem::remove_all(memory); });
  const Path two = memory / "two.img";
  std::filesystem::copy_file(ext4("two.img", 96), two);
  const std::vector<std::string> enroll = {
      "enroll",     "--yes", "--recovery-key-dir", (folder / "keys").native(),
      "--progress", "json",  one.native(),         two.native()};
  const auto progress_of = [](const std::string& out, const Path& image) {
    return out.find(R"("event":"progress","path":")" + image.native()) != std::string::npos;
  };
  auto slowly = enroll;
  slowly.insert(slowly.end(), {"--io-limit", "10K", "--jobs", "2"});
  std::jthread pause([&] {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    for (std::string out; std::chrono::steady_clock::now() < give_up;) {
      if (std::filesystem::exists(folder / "stdout")) out = read_file(folder / "stdout");
      if (progress_of(out, one) && progress_of(out, two)) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    run({VOLSEAL_BINARY, "--state", (folder / "state").native(), "enroll", "--pause"});
  });
  const Result stopped = volseal(slowly);
  pause.join();
  EXPECT_EQ(stopped.status, 4);
  EXPECT_TRUE(progress_of(stopped.out, one) && progress_of(stopped.out, two)) << stopped.out;
  const auto result = nlohmann::json::parse(stopped.out.substr(stopped.out.rfind("\n{") + 1));
  ASSERT_EQ(result.at("volumes").size(), 2U);
  for (const auto& volume : result.at("volumes")) EXPECT_EQ(volume.at("outcome"), "paused");

  ASSERT_EQ(volseal(enroll).status, 0);
  for (const Path& image : {one, two}) {
    EXPECT_EQ(volseal({"unlock", "--test", image.native()}).status, 0);
    EXPECT_EQ(volseal({"check", image.native()}).status, 0);
  }
}

class AdoptTest : public CliTest, public ::testing::WithParamInterface<const char*> {};

// Somebody else's LUKS volume, of either version: protectors are added, and their key stays.
TEST_P(AdoptTest, AddsProtectorsAndKeepsWhatIsThere) {
  const Path image = blank("disk.img", 32);
  write_file(folder / "key", "passphrase");
  run_or_throw({"cryptsetup", "luksFormat", "-q", "--type", GetParam(), "--iter-time", "10",
                image.native(), key()});
  const std::string keys = (folder / "keys").native();
  const std::vector<std::string> enroll = {"enroll", "--yes", "--recovery-key-dir", keys,
                                           image.native()};
  const std::string before = digest(image);
  const Result unopened = volseal(enroll);
  EXPECT_EQ(unopened.status, 64) << unopened.err;
  EXPECT_THAT(unopened.err, HasSubstr("--key-file"));
  write_file(folder / "wrong", "not that");
  auto with_key = enroll;
  with_key.insert(with_key.end(), {"--key-file", (folder / "wrong").native()});
  EXPECT_EQ(volseal(with_key).status, 6);
  EXPECT_EQ(digest(image), before) << "what could not be opened was changed";

  with_key.back() = key();
  const std::string data = digest(image, 16U << 20U);
  const Result done = volseal(with_key);
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(digest(image, 16U << 20U), data);
  EXPECT_EQ(volseal({"unlock", "--test", image.native()}).status, 0);
  ASSERT_EQ(std::distance(std::filesystem::directory_iterator(keys), {}), 1);
  const Path recovery = std::filesystem::directory_iterator(keys)->path();
  for (const std::string& opens : {key(), recovery.native()}) {
    EXPECT_EQ(run({"cryptsetup", "open", "--type", "luks2", "--test-passphrase", "--key-file",
                   opens, image.native()})
                  .status,
              0)
        << opens;
  }
  EXPECT_THAT(volseal(enroll).out, HasSubstr("Nothing to encrypt"));
  // cryptsetup gave the keyslot of the LUKS1 header too few iterations for our taste.
  EXPECT_EQ(volseal({"check", image.native()}).status, GetParam() == std::string("luks1") ? 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(Versions, AdoptTest, ::testing::Values("luks1", "luks2"),
                         [](const auto& version) { return std::string(version.param); });

// Both pipes lose their reader before the program writes its first word.
TEST_F(CliTest, AReaderThatIsGoneEndsWhatReadsAndNothingElse) {
  const Path image = luks2("disk.img");
  const auto unread = [&](const std::string& arguments) {
    return run({"bash", "-c", "exec 9> >(exec 9>&-); wait $!; \"$0\" " + arguments + " >&9 2>&9",
                VOLSEAL_BINARY})
        .status;
  };
  EXPECT_EQ(unread("protector list " + image.native()), 128 + SIGPIPE);
  write_file(folder / "new", "another one");
  EXPECT_EQ(unread("protector add passphrase " + image.native() + " --key-file " + key() +
                   " --new-key-file " + (folder / "new").native() + " --state " +
                   (folder / "state").native()),
            0);
  EXPECT_EQ(
      volseal({"unlock", "--test", "--key-file", (folder / "new").native(), image.native()}).status,
      0);
}

TEST_F(CliTest, AReportOfAPartSaysThatItIsOne) {
  write_file(folder / "policy.toml",
             "[group.default]\ntenant = \"Tenant A\"\nenvironment = \"test\"\n");
  const Path image = blank("part.img", 16);
  const Result part = volseal({"check", "--tenant", "Tenant A", image.native()});
  EXPECT_THAT(part.out, HasSubstr("Only tenant \"Tenant A\"; the machine has more."));
  EXPECT_THAT(part.out, HasSubstr("of these only: 1 volume"));
  const Result none = volseal({"check", "--tenant", "", image.native()});
  EXPECT_THAT(none.out, HasSubstr("Only tenant none"));
  EXPECT_EQ(none.status, 3);
  const Result wrong = volseal({"check", "--tenant", "Tenant B", image.native()});
  EXPECT_EQ(wrong.status, 64);
  EXPECT_THAT(wrong.err, HasSubstr("the policy has none of that name, but Tenant A"));
  EXPECT_EQ(volseal({"check", "--environment", "production", image.native()}).status, 64);
  EXPECT_EQ(volseal({"check", "--environment", "test", image.native()}).status, part.status);
}

TEST_F(CliTest, AVolumeDoesNotGetIntoASecondGroup) {
  write_file(folder / "policy.toml",
             "[group.a]\ntenant = \"Tenant A\"\n[group.b]\ntenant = \"Tenant B\"\n");
  const Path image = luks2("disk.img");
  ASSERT_EQ(
      volseal({"protector", "add", "tpm", "--group", "a", "--key-file", key(), image.native()})
          .status,
      0);
  const Result second =
      volseal({"protector", "add", "tpm", "--group", "b", "--key-file", key(), image.native()});
  EXPECT_EQ(second.status, 5);
  EXPECT_THAT(second.err, HasSubstr("that of group a opens it, and a volume is in one group"));
  const Result parts = volseal({"protector", "add", "tpm+passphrase", "--group", "b", "--key-file",
                                key(), "--new-key-file", key(), image.native()});
  EXPECT_NE(parts.status, 0);
  EXPECT_THAT(volseal({"protector", "list", image.native()}).out, HasSubstr("  Tenant A\n"));
  EXPECT_THAT(volseal({"tpm", "status", "--group", "a"}).out, HasSubstr("Tenant A group a\n"));
}

TEST_F(CliTest, StatusFitsAScreen) {
  const Result text = volseal({"status"});
  EXPECT_LE(std::ranges::count(text.out, '\n'), 24);
  EXPECT_TRUE(text.status == 0 || text.status == 1) << text.err;
  const auto json = nlohmann::json::parse(volseal({"status", "--json"}).out);
  EXPECT_EQ(json.at("schema"), "volseal-status/1");
  EXPECT_EQ(json.at("attention").empty(), text.status == 0);
  for (const auto& one : json.at("attention")) EXPECT_FALSE(one.at("command").empty());
}

}  // namespace
}  // namespace volseal
