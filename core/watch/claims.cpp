#include "core/watch/claims.h"

#include "core/base/apart.h"
#include "core/base/error.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <thread>
#include <utility>

namespace volseal {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t most_at_once = 32;

// One packet each; the descriptor comes beside it.
struct Answer {
  std::uint32_t job = 0;
  bool done = false;
  bool in_use = false;
  std::array<char, 240> problem{};
};

using Control = std::array<char, CMSG_SPACE(sizeof(int))>;

void send_answer(int socket, std::uint32_t job, const Claimed& claimed) {
  Answer answer{.job = job, .done = claimed.done, .in_use = claimed.in_use};
  claimed.problem.copy(answer.problem.data(), answer.problem.size() - 1);
  iovec data{.iov_base = &answer, .iov_len = sizeof answer};
  alignas(cmsghdr) Control control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (claimed.fd) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = claimed.fd.get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  while (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

// In the child: never returns. What it holds is closed with it, and then only the parent has it.
[[noreturn]] void claim_apart(int socket, const std::vector<ClaimJob>& jobs,
                              const Claims::Function& function) {
  keep_only(socket);
  // The watch's own are read from a descriptor.
  sigset_t none{};
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  {
    std::vector<std::jthread> threads;
    threads.reserve(jobs.size());
    for (std::uint32_t i = 0; i < jobs.size(); ++i)
      threads.emplace_back([&, i] { send_answer(socket, i, function(jobs[i])); });
  }
  ::_exit(0);
}

}  // namespace

Claims::~Claims() {
  for (const Batch& batch : batches_) left_behind_.push_back(batch.process);
  batches_.clear();
  for (const pid_t process : left_behind_) ::kill(process, SIGKILL);
  bury();
}

// Those that could end.
void Claims::bury() {
  std::erase_if(left_behind_,
                [](pid_t process) { return ::waitpid(process, nullptr, WNOHANG) != 0; });
}

Claims::Batch Claims::start(const std::vector<ClaimJob>& jobs) const {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    throw_errno(errno, "make a socket pair");
  Batch batch{.socket = UniqueFd(ends[0])};
  const UniqueFd theirs(ends[1]);
  for (const ClaimJob& job : jobs) {
    batch.ids.push_back(job.id);
    batch.left.emplace(job.id, false);
  }
  batch.process = ::fork();
  if (batch.process < 0) throw_errno(errno, "start a process that claims devices");
  if (batch.process == 0) claim_apart(theirs.get(), jobs, function_);
  return batch;
}

// What there is now.
void Claims::receive(Batch& batch, std::map<DeviceId, Claimed>& taken) {
  for (;;) {
    Answer answer;
    iovec data{.iov_base = &answer, .iov_len = sizeof answer};
    alignas(cmsghdr) Control control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(batch.socket.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got != ssize_t{sizeof answer} || answer.job >= batch.ids.size()) {
      batch.ended = true;
      return;
    }
    Claimed claimed{.done = answer.done, .in_use = answer.in_use};
    answer.problem.back() = '\0';
    claimed.problem = answer.problem.data();
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
      claimed.fd.reset(fd);
    } else if (claimed.problem.empty()) {
      claimed.problem = "its claim was lost on the way";
    }
    const DeviceId& id = batch.ids[answer.job];
    batch.left.erase(id);
    taken.insert_or_assign(id, std::move(claimed));
  }
}

void Claims::wait(Batch& batch, std::chrono::milliseconds patience,
                  std::map<DeviceId, Claimed>& taken) {
  const auto due = Clock::now() + patience;
  receive(batch, taken);
  while (!batch.left.empty() && !batch.ended) {
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now());
    if (wait.count() <= 0) break;
    pollfd fd{.fd = batch.socket.get(), .events = POLLIN, .revents = 0};
    if (::poll(&fd, 1, static_cast<int>(wait.count())) < 0 && errno != EINTR)
      throw_errno(errno, "wait for claims");
    receive(batch, taken);
  }
  for (auto& [id, waited] : batch.left) waited = true;
}

std::map<DeviceId, Claimed> Claims::take(const std::vector<ClaimJob>& jobs,
                                         std::chrono::milliseconds patience) {
  std::map<DeviceId, Claimed> taken;
  for (Batch& batch : batches_) receive(batch, taken);
  // What nobody wants any more, such as a disk that was pulled out meanwhile, is let go of.
  std::set<DeviceId> wanted;
  for (const ClaimJob& job : jobs) wanted.insert(job.id);
  std::erase_if(taken, [&](const auto& one) { return !wanted.contains(one.first); });

  std::set<DeviceId> pending;
  for (const Batch& batch : batches_) {
    if (batch.ended) continue;
    for (const auto& [id, waited] : batch.left) pending.insert(id);
  }
  std::vector<ClaimJob> todo;
  for (const ClaimJob& job : jobs) {
    if (!taken.contains(job.id) && !pending.contains(job.id)) todo.push_back(job);
  }
  for (std::size_t first = 0; first < todo.size(); first += most_at_once) {
    const auto begin = todo.begin() + static_cast<std::ptrdiff_t>(first);
    const auto count = std::min(most_at_once, todo.size() - first);
    batches_.push_back(start({begin, begin + static_cast<std::ptrdiff_t>(count)}));
    wait(batches_.back(), patience, taken);
  }
  for (auto batch = batches_.begin(); batch != batches_.end();) {
    if (batch->left.empty() || batch->ended) {
      left_behind_.push_back(batch->process);
      batch = batches_.erase(batch);
    } else {
      ++batch;
    }
  }
  bury();
  for (const ClaimJob& job : jobs) {
    if (!taken.contains(job.id)) taken.emplace(job.id, Claimed{.problem = "it does not answer"});
  }
  return taken;
}

}  // namespace volseal
