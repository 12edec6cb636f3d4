#include "core/base/base64.h"
#include "core/base/destroy.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"
#include "core/base/human.h"
#include "core/base/process.h"
#include "core/base/secret.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <type_traits>

namespace volseal {
namespace {

class BaseTest : public ::testing::Test {
 protected:
  BaseTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "volseal-base.XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
  }
  ~BaseTest() override { std::filesystem::remove_all(folder); }

  Path folder;
};

TEST_F(BaseTest, SecretIsMoveOnlyAndCannotBeFormatted) {
  static_assert(!std::is_copy_constructible_v<Secret>);
  static_assert(std::is_nothrow_move_constructible_v<Secret>);
  static_assert(!fmt::is_formattable<Secret>::value);
  Secret first = Secret::copy_of("correct horse");
  const Secret second = std::move(first);
  EXPECT_EQ(second.view(), "correct horse");
}

TEST_F(BaseTest, SecretIsNotInheritedByAChild) {
  const Secret secret = Secret::copy_of("parents only");
  const pid_t child = ::fork();
  if (child == 0) {
    // MADV_WIPEONFORK: the child sees zeros.
    ::_exit(secret.view()[0] == '\0' ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(BaseTest, SecretsOfDifferentLengthAreNotEqual) {
  EXPECT_TRUE(Secret::copy_of("a").equal(Secret::copy_of("a")));
  EXPECT_FALSE(Secret::copy_of("a").equal(Secret::copy_of("b")));
  EXPECT_FALSE(Secret::copy_of("a").equal(Secret::copy_of("ab")));
}

TEST_F(BaseTest, EncodesSecretsAsHexAndBase64) {
  const Secret secret = Secret::copy_of("\x01\xfe\x7f");
  EXPECT_EQ(hex_of(secret).view(), "01fe7f");
  EXPECT_EQ(base64_of(secret).view(), "Af5/");
}

TEST_F(BaseTest, DecodesOnlyCanonicalBase64) {
  EXPECT_EQ(from_base64("Af5/"), (Bytes{1, 0xfe, 0x7f}));
  EXPECT_EQ(from_base64("AQ=="), (Bytes{1}));
  EXPECT_EQ(from_base64(""), Bytes{});
  for (const char* bad : {"A", "AQ", "AQ=", " AQ=", "AQ==\n", "A===", "AR==", "!!!!"}) {
    EXPECT_FALSE(from_base64(bad)) << bad;
  }
}

TEST_F(BaseTest, DecodesHexOfBothCasesOnly) {
  EXPECT_EQ(from_hex("0aFF"), (Bytes{0x0a, 0xff}));
  EXPECT_FALSE(from_hex("0"));
  EXPECT_FALSE(from_hex("0g"));
}

TEST_F(BaseTest, EscapesWhatADeviceCouldDoToATerminal) {
  EXPECT_EQ(escaped("backup-1"), "backup-1");
  EXPECT_EQ(escaped("\x1b[2J"), "\\x1b[2J");
  EXPECT_EQ(escaped("a\nb\\"), "a\\x0ab\\x5c");
  EXPECT_EQ(escaped("M\xc3\xbcnchen"), "M\xc3\xbcnchen");
  EXPECT_EQ(escaped("\xc3"), "\\xc3");
  EXPECT_EQ(escaped("\xe2\x80\xae"
                    "gpj"),
            "\\xe2\\x80\\xaegpj");                        // right-to-left override
  EXPECT_EQ(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate is not UTF-8
  EXPECT_EQ(escaped("abcdef", 3), "abc...");
}

TEST_F(BaseTest, EscapesWhatCannotBeSeen) {
  EXPECT_EQ(escaped("a\u200bb"), "a\\xe2\\x80\\x8bb");       // zero width space
  EXPECT_EQ(escaped("a\u3164"), "a\\xe3\\x85\\xa4");         // Hangul filler
  EXPECT_EQ(escaped("a\ufe0f"), "a\\xef\\xb8\\x8f");         // variation selector
  EXPECT_EQ(escaped("\U000e0041"), "\\xf3\\xa0\\x81\\x81");  // tag
  EXPECT_EQ(escaped("\ufffd \u20ac \U0001f600"), "\ufffd \u20ac \U0001f600");
}

TEST_F(BaseTest, AMessageIsOneLineAndIsNotEscapedTwice) {
  EXPECT_EQ(on_one_line("open " + escaped("a\nb") + "\x1b[2J\n"), "open a\\x0ab\\x1b[2J\\x0a");
}

TEST_F(BaseTest, SizesAreReadAndPrinted) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(1536), "1.5 KiB");
  EXPECT_EQ(human_size(16U << 20U), "16 MiB");
  EXPECT_EQ(human_size((1ULL << 30U) - 1), "1 GiB");
  EXPECT_EQ(parse_size("16 MiB"), 16U << 20U);
  EXPECT_EQ(parse_size("2T"), 2ULL << 40U);
  EXPECT_EQ(parse_size("4096"), 4096U);
  for (const char* bad : {"", "MiB", "-1", "1 XB", "1e30", "nan"})
    EXPECT_FALSE(parse_size(bad)) << bad;
}

TEST_F(BaseTest, WritingAFileKeepsTheModeOfTheOldOne) {
  write_file(folder / "table", "one\n", 0640);
  write_file(folder / "table", "two\n", 0600);
  struct stat status{};
  ASSERT_EQ(::stat((folder / "table").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0640U);
  EXPECT_EQ(read_file(folder / "table"), "two\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}),
            1);  // nothing temporary
}

// /etc/crypttab may be a link into a folder that is kept under version control.
TEST_F(BaseTest, WritingThroughASymbolicLinkKeepsTheLink) {
  std::filesystem::create_directory(folder / "kept");
  write_file(folder / "kept/table", "one\n");
  std::filesystem::create_symlink("kept/table", folder / "link");
  write_file(folder / "link", "two\n");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(read_file(folder / "kept/table"), "two\n");
}

TEST_F(BaseTest, ASecretFileIsForItsOwnerAloneWhateverWasThere) {
  write_file(folder / "key", "public\n", 0644);
  ASSERT_EQ(::chmod((folder / "key").c_str(), 0644), 0);
  write_secret_file(folder / "key", Secret::copy_of("private"));
  struct stat status{};
  ASSERT_EQ(::stat((folder / "key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(read_file(folder / "key"), "private");
}

TEST_F(BaseTest, ReadsAreBounded) {
  std::ofstream(folder / "large") << std::string(100, 'x');
  EXPECT_THROW(read_file(folder / "large", 99), Error);
  EXPECT_EQ(read_file(folder / "large", 100).size(), 100U);
  EXPECT_FALSE(read_file_if_any(folder / "absent"));
}

// It once wrote its zeros behind the end, and left the bytes where they were.
TEST_F(BaseTest, AFileThatIsDestroyedIsOverwrittenAndNotOnlyRemoved) {
  const Path file = folder / "header";
  write_file(file, std::string(3'000'000, 'x'));
  std::filesystem::create_hard_link(file, folder / "other-name");
  destroy_file(file);
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_EQ(read_file(folder / "other-name", 8U << 20U), std::string(3'000'000, '\0'));
  destroy_file(file);
}

TEST_F(BaseTest, SecretFilesLoseOneNewlineOnly) {
  std::ofstream(folder / "key") << "pass phrase\n\n";
  EXPECT_EQ(read_secret(folder / "key").view(), "pass phrase\n");
  EXPECT_EQ(read_secret(folder / "key", true).view(), "pass phrase\n\n");
  std::ofstream(folder / "empty") << "\n";
  EXPECT_THROW(read_secret(folder / "empty"), Error);
  std::ofstream(folder / "long") << std::string(10000, 'k');
  EXPECT_EQ(read_secret(folder / "long").size(), 10000U);
}

TEST_F(BaseTest, AKeyFileMayHave8MiBAndNotAByteMore) {
  std::ofstream(folder / "largest") << std::string(8U << 20U, 'k');
  EXPECT_EQ(read_secret(folder / "largest", true).size(), 8U << 20U);
  std::ofstream(folder / "larger") << std::string((8U << 20U) + 1, 'k');
  EXPECT_THROW(read_secret(folder / "larger", true), Error);
}

TEST_F(BaseTest, TheSecondLockNamesTheFirst) {
  const FileLock first(folder / "lock");
  try {
    const FileLock second(folder / "lock");
    FAIL() << "two locks on one file";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::busy);
    EXPECT_THAT(error.what(), ::testing::HasSubstr(std::to_string(::getpid())));
  }
}

TEST_F(BaseTest, ProgramsGetInputAndGiveOutputAndStatus) {
  EXPECT_EQ(run({"cat"}, "hello").output, "hello");
  EXPECT_EQ(run({"sh", "-c", "echo out; echo err >&2; exit 3"}).status, 3);
  EXPECT_THROW(run({"no-such-program-anywhere"}), Error);
  try {
    run_or_throw({"sh", "-c", "echo first; echo last >&2; exit 1"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::program_failed);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("last"));
  }
}

// In a process of its own, since it is about what a process inherits.
int status_of_child(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(act());
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(BaseTest, AFailureIsSeenWhereWhoStartedUsIgnoresChildren) {
  EXPECT_EQ(status_of_child([] {
              (void)::signal(SIGCHLD, SIG_IGN);
              return run({"sh", "-c", "exit 3"}).status;
            }),
            3);
}

TEST_F(BaseTest, ProgramsInheritNoSignalSettings) {
  EXPECT_EQ(status_of_child([] {
              (void)::signal(SIGPIPE, SIG_IGN);
              sigset_t set{};
              sigemptyset(&set);
              sigaddset(&set, SIGTERM);
              ::sigprocmask(SIG_BLOCK, &set, nullptr);
              const bool terminated =
                  run({"sh", "-c", "kill -TERM $$; exit 1"}).status == 128 + SIGTERM;
              const bool piped = run({"sh", "-c", "kill -PIPE $$; exit 1"}).status == 128 + SIGPIPE;
              return terminated && piped ? 0 : 1;
            }),
            0);
}

TEST_F(BaseTest, ADaemonThatStaysBehindIsNotWaitedFor) {
  // It holds the pipe open until it is told to go, which is after run() has come back.
  const Path fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const ProcessResult result =
      run({"sh", "-c", "read -r line < " + fifo.native() + " & echo started"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.output, "started\n");
  std::ofstream(fifo) << "go\n";
}

TEST_F(BaseTest, ProgramsHaveNoTerminalToAskAt) {
  EXPECT_NE(run({"sh", "-c", ": </dev/tty"}).status, 0);
}

TEST_F(BaseTest, ClosedStandardDescriptorsAreNotTakenByTheNextFile) {
  EXPECT_EQ(status_of_child([&] {
              for (int fd = 0; fd <= 2; ++fd) ::close(fd);
              ensure_standard_descriptors();
              const UniqueFd file = open_file(folder / "disk", O_RDWR | O_CREAT);
              return file.get() > 2 && ::write(STDERR_FILENO, "x", 1) < 0 ? 0 : 1;
            }),
            0);
}

}  // namespace
}  // namespace volseal
