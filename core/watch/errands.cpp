#include "core/watch/errands.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t most_waiting = 1'000;

void listen_to(int epoll, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) throw_errno(errno, "wait for a program");
}

// The exit status, 128 + signal when it was killed; nothing while it runs.
std::optional<int> status_of(pid_t pid) {
  int status = 0;
  const pid_t ended = ::waitpid(pid, &status, WNOHANG);
  if (ended == 0 || (ended < 0 && errno == EINTR)) return std::nullopt;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Errands::Errands(std::size_t most_at_once)
    : most_at_once_(most_at_once),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      alarm_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  if (!epoll_ || !alarm_) throw_errno(errno, "wait for programs");
  listen_to(epoll_.get(), alarm_.get());
}

Errands::~Errands() {
  for (const Running& one : running_) {
    ::kill(-one.process.pid, SIGKILL);
    ::waitpid(one.process.pid, nullptr, 0);
  }
}

bool Errands::add(Errand errand) {
  if (queue_.size() >= most_waiting) return false;
  queue_.push_back(std::move(errand));
  start_next(not_started_);
  set_alarm();
  return true;
}

std::vector<std::string> Errands::see_to() {
  std::uint64_t rings = 0;
  (void)!::read(alarm_.get(), &rings, sizeof rings);
  std::vector<std::string> said = std::exchange(not_started_, {});
  std::erase_if(running_, [&](Running& one) {
    if (!one.late && Clock::now() >= one.due) {
      one.late = true;
      ::kill(-one.process.pid, SIGKILL);
    }
    const auto status = status_of(one.process.pid);
    if (!status) return false;
    if (one.late)
      said.push_back(fmt::format("{} took too long and was killed", escaped(one.program)));
    else if (*status != 0)
      said.push_back(fmt::format("{} failed with status {}", escaped(one.program), *status));
    return true;
  });
  start_next(said);
  set_alarm();
  return said;
}

bool Errands::is_about(const std::string& what) const {
  return std::ranges::find(queue_, what, &Errand::about) != queue_.end() ||
         std::ranges::find(running_, what, &Running::about) != running_.end();
}

void Errands::start_next(std::vector<std::string>& said) {
  while (!queue_.empty() && running_.size() < most_at_once_) {
    const Errand errand = std::move(queue_.front());
    queue_.pop_front();
    try {
      Running one{
          .program = errand.argv.at(0),
          .process = spawn(errand.argv, input_of(errand.input), open_file("/dev/null", O_WRONLY)),
          .due = Clock::now() + errand.timeout,
          .about = errand.about};
      if (one.process.handle) listen_to(epoll_.get(), one.process.handle.get());
      running_.push_back(std::move(one));
    } catch (const Error& error) {
      said.emplace_back(error.what());
    }
  }
}

void Errands::set_alarm() const {
  itimerspec when{};
  if (!not_started_.empty()) {
    when.it_value.tv_nsec = 1;
  } else if (!running_.empty()) {
    const auto next = std::ranges::min_element(running_, {}, &Running::due)->due;
    const auto left = std::max(next - Clock::now(), Clock::duration(1));
    // One that was killed and will not die is looked at again.
    const bool late = std::ranges::any_of(running_, &Running::late);
    const auto wait = late ? std::chrono::nanoseconds(std::chrono::seconds(1))
                           : std::chrono::duration_cast<std::chrono::nanoseconds>(left);
    when.it_value.tv_sec = static_cast<time_t>(wait.count() / 1'000'000'000);
    when.it_value.tv_nsec = static_cast<long>(wait.count() % 1'000'000'000);
  }
  (void)::timerfd_settime(alarm_.get(), 0, &when, nullptr);
}

}  // namespace volseal
