#include "core/base/process.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

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

std::string last_line(std::string_view output) {
  while (!output.empty() && (output.back() == '\n' || output.back() == ' '))
    output.remove_suffix(1);
  if (const auto at = output.rfind('\n'); at != std::string_view::npos)
    output.remove_prefix(at + 1);
  return escaped(output);
}

struct SpawnActions {
  posix_spawn_file_actions_t actions{};
  SpawnActions() { ::posix_spawn_file_actions_init(&actions); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  SpawnActions(SpawnActions&&) = delete;
  SpawnActions& operator=(SpawnActions&&) = delete;
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions); }
};

}  // namespace

ProcessResult run(const std::vector<std::string>& argv, std::string_view input) {
  const std::string program = find_program(argv.at(0));
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
  std::array<std::string, 3> variables = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                                          "LVM_SUPPRESS_FD_WARNINGS=1"};
  std::array<char*, 4> environment = {variables[0].data(), variables[1].data(), variables[2].data(),
                                      nullptr};
  pid_t child = 0;
  const int error = ::posix_spawn(&child, program.c_str(), &spawn.actions, nullptr,
                                  arguments.data(), environment.data());
  if (error != 0) throw_errno(error, "run {}", program);
  out_write.reset();

  ProcessResult result;
  std::array<char, 4096> chunk{};
  for (;;) {
    const ssize_t got = ::read(out_read.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    const std::size_t room = max_output - std::min(max_output, result.output.size());
    result.output.append(chunk.data(), std::min(room, static_cast<std::size_t>(got)));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

ProcessResult run_or_throw(const std::vector<std::string>& argv, const std::vector<int>& good) {
  ProcessResult result = run(argv);
  if (std::ranges::find(good, result.status) == good.end()) {
    std::string line = last_line(result.output);
    throw Error(Code::program_failed, "{} failed with status {}{}{}", argv.at(0), result.status,
                line.empty() ? "" : ": ", line);
  }
  return result;
}

}  // namespace volseal
