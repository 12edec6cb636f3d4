#include "core/base/process.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"
#include "core/base/spawn.h"

#include <fcntl.h>
#include <poll.h>
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
  std::array<int, 2> out{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0) throw_errno(errno, "make a pipe");
  const UniqueFd out_read(out[0]);
  UniqueFd out_write(out[1]);
  const Spawned spawned = spawn(argv, input_of(input), out_write, options.variables);
  out_write.reset();
  std::optional<Clock::time_point> due;
  if (options.timeout) due = Clock::now() + *options.timeout;
  ProcessResult result = output_of(out_read.get(), spawned.handle.get(), spawned.pid, due);
  int status = 0;
  while (::waitpid(spawned.pid, &status, 0) < 0) {
    if (errno != EINTR) throw_errno(errno, "wait for {}", argv.at(0));
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

ProcessResult run_or_throw(const std::vector<std::string>& argv, const std::vector<int>& good,
                           std::string_view input) {
  ProcessResult result = run(argv, input);
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
