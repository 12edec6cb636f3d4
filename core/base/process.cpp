#include "core/base/process.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <limits>

namespace volseal {

namespace {

constexpr std::size_t max_output = 1U << 20U;

std::string find_program(const std::string& name) {
  if (name.starts_with('/')) return name;
  for (const char* folder : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"}) {
    std::string path = folder + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  throw Error(Code::not_found, "run {}: there is no such program", name);
}

// The end of what it said. The reason is seldom in the very last line alone.
std::string last_lines(std::string_view output) {
  constexpr int wanted = 3;
  std::string text;
  for (int lines = 0; lines < wanted && !output.empty();) {
    const auto newline = output.rfind('\n');
    const std::string_view line =
        newline == std::string_view::npos ? output : output.substr(newline + 1);
    output = newline == std::string_view::npos ? std::string_view() : output.substr(0, newline);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    text.insert(0, escaped(line) + (text.empty() ? "" : "; "));
    ++lines;
  }
  return text;
}

struct SpawnActions {
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  SpawnActions() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    // Who started us may ignore SIGPIPE or SIGCHLD, and a service blocks SIGTERM; programs expect
    // neither.
    sigset_t none{};
    sigset_t all{};
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setflags(&attributes,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  SpawnActions(SpawnActions&&) = delete;
  SpawnActions& operator=(SpawnActions&&) = delete;
  ~SpawnActions() {
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
  }
};

// Where SIGCHLD is ignored (which exec hands on), the kernel throws statuses away: every failure
// would look like success.
void keep_child_statuses() {
  struct sigaction action{};
  if (::sigaction(SIGCHLD, nullptr, &action) == 0 &&
      (action.sa_handler == SIG_IGN || (action.sa_flags & SA_NOCLDWAIT) != 0)) {
    struct sigaction usual{};
    usual.sa_handler = SIG_DFL;
    ::sigaction(SIGCHLD, &usual, nullptr);
  }
}

using Clock = std::chrono::steady_clock;

// For poll(2); -1: for ever.
int milliseconds_until(const std::optional<Clock::time_point>& due) {
  if (!due) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, std::numeric_limits<int>::max()));
}

// Reads until the output ends or the program does, whichever is first; when it is due, the program
// and its group are killed, which ends it.
ProcessResult output_of(int out, int child, pid_t group, std::optional<Clock::time_point> due) {
  ProcessResult result;
  std::string& output = result.output;
  std::array<char, 4096> chunk{};
  std::array<pollfd, 2> fds = {
      {{.fd = out, .events = POLLIN, .revents = 0}, {.fd = child, .events = POLLIN, .revents = 0}}};
  bool ended = false;
  for (;;) {
    // Once it has ended only what is in the pipe already is its own.
    const int ready = ::poll(fds.data(), fds.size(), ended ? 0 : milliseconds_until(due));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) throw_errno(errno, "wait for a program");
    if (!ended && due && Clock::now() >= *due) {
      ::kill(-group, SIGKILL);
      result.timed_out = true;
      due.reset();
    }
    if (fds[0].revents != 0) {
      const ssize_t got = ::read(out, chunk.data(), chunk.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        // It may live on without its output.
        fds[0].fd = -1;
        if (fds[1].fd < 0 || !due) return result;
        continue;
      }
      const std::size_t room = max_output - std::min(max_output, output.size());
      output.append(chunk.data(), std::min(room, static_cast<std::size_t>(got)));
    } else if (ended) {
      return result;
    }
    ended = ended || fds[1].revents != 0;
    if (ended) fds[1].fd = -1;
  }
}

}  // namespace

ProcessResult run(const std::vector<std::string>& argv, std::string_view input,
                  const RunOptions& options) {
  const std::string program = find_program(argv.at(0));
  keep_child_statuses();
  std::array<int, 2> out{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0) throw_errno(errno, "make a pipe");
  const UniqueFd out_read(out[0]);
  UniqueFd out_write(out[1]);

  // Input goes through an unlinked memory file, so that nobody can block on a full pipe.
  const UniqueFd in(input.empty() ? ::open("/dev/null", O_RDONLY | O_CLOEXEC)
                                  : ::memfd_create("input", MFD_CLOEXEC));
  if (!in) throw_errno(errno, "open the input of {}", program);
  if (!input.empty()) {
    write_all(in.get(), input, "input of " + program);
    ::lseek(in.get(), 0, SEEK_SET);
  }

  SpawnActions spawn;
  ::posix_spawn_file_actions_adddup2(&spawn.actions, in.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&spawn.actions, out_write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&spawn.actions, out_write.get(), STDERR_FILENO);

  std::vector<char*> arguments;
  arguments.reserve(argv.size() + 1);
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::vector<std::string> variables = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                                        "LVM_SUPPRESS_FD_WARNINGS=1"};
  variables.insert(variables.end(), options.variables.begin(), options.variables.end());
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, program.c_str(), &spawn.actions, &spawn.attributes,
                                  arguments.data(), environment.data());
  if (error != 0) throw_errno(error, "run {}", program);
  out_write.reset();

  // Ours to wait for, so its process id cannot be another's yet.
  const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  std::optional<Clock::time_point> due;
  if (options.timeout) due = Clock::now() + *options.timeout;
  ProcessResult result = output_of(out_read.get(), handle.get(), child, due);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw_errno(errno, "wait for {}", program);
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

ProcessResult run_or_throw(const std::vector<std::string>& argv, const std::vector<int>& good) {
  ProcessResult result = run(argv);
  if (std::ranges::find(good, result.status) == good.end()) {
    const std::string said = last_lines(result.output);
    throw Error(Code::program_failed, "{} failed with status {}{}{}", argv.at(0), result.status,
                said.empty() ? "" : ": ", said);
  }
  return result;
}

void ensure_standard_descriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // open(2) takes the lowest free number, which is this one. The wrong way round, so that using
    // it is still an error.
    const int opened = ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (opened != fd) std::abort();
  }
}

}  // namespace volseal
