#include "core/base/spawn.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace volseal {

namespace {

std::string find_program(const std::string& name) {
  if (name.starts_with('/')) return name;
  for (const char* folder : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"}) {
    std::string path = folder + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  throw Error(Code::not_found, "run {}: there is no such program", name);
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

}  // namespace

UniqueFd input_of(std::string_view input) {
  UniqueFd in(input.empty() ? ::open("/dev/null", O_RDONLY | O_CLOEXEC)
                            : ::memfd_create("input", MFD_CLOEXEC));
  if (!in) throw_errno(errno, "open the input of a program");
  if (!input.empty()) {
    write_all(in.get(), input, "input of a program");
    ::lseek(in.get(), 0, SEEK_SET);
  }
  return in;
}

Spawned spawn(const std::vector<std::string>& argv, const UniqueFd& in, const UniqueFd& out,
              const std::vector<std::string>& variables) {
  const std::string program = find_program(argv.at(0));
  keep_child_statuses();
  SpawnActions spawn;
  ::posix_spawn_file_actions_adddup2(&spawn.actions, in.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&spawn.actions, out.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&spawn.actions, out.get(), STDERR_FILENO);

  std::vector<char*> arguments;
  arguments.reserve(argv.size() + 1);
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::vector<std::string> all = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                                  "LVM_SUPPRESS_FD_WARNINGS=1"};
  all.insert(all.end(), variables.begin(), variables.end());
  std::vector<char*> environment;
  environment.reserve(all.size() + 1);
  for (std::string& variable : all) environment.push_back(variable.data());
  environment.push_back(nullptr);
  Spawned result;
  const int error = ::posix_spawn(&result.pid, program.c_str(), &spawn.actions, &spawn.attributes,
                                  arguments.data(), environment.data());
  if (error != 0) throw_errno(error, "run {}", program);
  // Ours to wait for, so its process id cannot be another's yet.
  result.handle.reset(static_cast<int>(::syscall(SYS_pidfd_open, result.pid, 0)));
  return result;
}

}  // namespace volseal
