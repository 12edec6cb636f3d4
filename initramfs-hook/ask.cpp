#include "initramfs-hook/ask.h"

#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/base/log.h"
#include "core/base/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

namespace volseal {

namespace {

constexpr const char* askpass = "/lib/cryptsetup/askpass";
constexpr const char* cryptsetup = "/sbin/cryptsetup";

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno(errno, "make a pipe");
  return {.read = UniqueFd(ends[0]), .write = UniqueFd(ends[1])};
}

// Runs `argv` with the descriptor `own` as its `theirs`; its process id, or -1.
pid_t start(std::vector<std::string> argv, std::vector<std::string> environment, int own,
            int theirs, bool silent) {
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  const Finally destroy([&] { ::posix_spawn_file_actions_destroy(&actions); });
  ::posix_spawn_file_actions_adddup2(&actions, own, theirs);
  if (silent) {
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  environment.emplace_back("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
  const auto pointers = [](std::vector<std::string>& words) {
    std::vector<char*> result;
    result.reserve(words.size() + 1);
    for (std::string& word : words) result.push_back(word.data());
    result.push_back(nullptr);
    return result;
  };
  std::vector<char*> arguments = pointers(argv);
  std::vector<char*> variables = pointers(environment);
  pid_t pid = -1;
  if (::posix_spawn(&pid, argv.front().c_str(), &actions, nullptr, arguments.data(),
                    variables.data()) != 0) {
    return -1;
  }
  return pid;
}

void wait_for(pid_t pid) {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

std::optional<Secret> Askpass::ask(const Question& question) {
  answered();
  const std::vector<std::string> environment = {
      "CRYPTTAB_NAME=" + question.mapping, "CRYPTTAB_SOURCE=" + question.device.native(),
      "CRYPTTAB_TRIED=" + std::to_string(question.tried), "CRYPTTAB_OPTION_tries=0"};
  // cryptroot-unlock(8) writes into the FIFO only while a cryptsetup for the same mapping waits for
  // the answer, and takes that one's end for "it was used": so one waits, for an input that never
  // comes.
  Pipe input = make_pipe();
  witness_pid_ = start({cryptsetup, "--type=luks", "--test-passphrase", "--key-file=-", "open",
                        "--", question.device.native()},
                       environment, input.read.get(), STDIN_FILENO, true);
  witness_ = std::move(input.write);

  Pipe output = make_pipe();
  const pid_t asking =
      start({askpass, question.prompt}, environment, output.write.get(), STDOUT_FILENO, false);
  output.write.reset();
  if (asking < 0) return std::nullopt;
  const Finally reap([&] { wait_for(asking); });
  try {
    return read_secret_from(output.read.get(), "the answer", true);
  } catch (const Error& error) {
    if (error.code() != Code::usage) throw;
    return std::nullopt;
  }
}

void Askpass::answered() {
  witness_.reset();
  if (witness_pid_ > 0) wait_for(witness_pid_);
  witness_pid_ = -1;
}

void tell_person(const std::string& text) {
  log::warning("{}", text);
  if (::access("/bin/plymouth", X_OK) != 0) return;
  try {
    if (run({"plymouth", "--ping"}).status == 0) run({"plymouth", "message", "--text=" + text});
  } catch (const Error&) {
    // The console has it.
    return;
  }
}

}  // namespace volseal
