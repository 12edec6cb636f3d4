#include "core/discover/probes.h"

#include "core/base/apart.h"
#include "core/base/error.h"
#include "core/base/handle.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

namespace volseal {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t most_threads = 16;
constexpr std::uint32_t longest_message = 16U << 20U;

// What goes through the socket: a job's number and a message, or that the job was begun.
struct Frame {
  static constexpr std::uint32_t begun = UINT32_MAX;
  std::uint32_t job = 0;
  std::uint32_t size = 0;
};

bool send_all(int socket, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(socket, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

std::string frame_of(std::size_t job, std::uint32_t size) {
  const Frame frame{.job = static_cast<std::uint32_t>(job), .size = size};
  std::string bytes(sizeof frame, '\0');
  std::memcpy(bytes.data(), &frame, sizeof frame);
  return bytes;
}

Probe unreadable(std::string why) {
  Probe probe;
  probe.content = {.kind = ContentKind::unreadable, .detail = std::move(why)};
  return probe;
}

// Processes that still wait for a device, and for which: asked again, it would only cost another.
class Stuck {
 public:
  void add(pid_t process, std::set<std::string> identities) {
    const std::scoped_lock lock(mutex_);
    waiting_.emplace_back(process, std::move(identities));
  }

  std::set<std::string> identities() {
    const std::scoped_lock lock(mutex_);
    std::erase_if(waiting_,
                  [](const auto& entry) { return ::waitpid(entry.first, nullptr, WNOHANG) != 0; });
    std::set<std::string> all;
    for (const auto& [process, names] : waiting_) all.insert(names.begin(), names.end());
    return all;
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<pid_t, std::set<std::string>>> waiting_;
};

Stuck& stuck() {
  static Stuck all;
  return all;
}

// In the child: never returns.
[[noreturn]] void work_apart(int socket, const std::vector<ProbeJob>& jobs,
                             const std::vector<std::size_t>& todo, const ProbeFunction& function) {
  keep_only(socket);
  static_cast<void>(::signal(SIGINT, SIG_IGN));  // the parent decides
  std::mutex mutex;
  std::atomic<std::size_t> next = 0;
  const auto tell = [&](std::string_view data) {
    const std::scoped_lock lock(mutex);
    if (!send_all(socket, data)) ::_exit(1);
  };
  const auto work = [&] {
    for (std::size_t i = next++; i < todo.size(); i = next++) {
      tell(frame_of(todo[i], Frame::begun));
      std::string message;
      try {
        message = to_message(function(jobs[todo[i]]));
        if (message.size() > longest_message)
          throw Error(Code::damaged, "there is too much to say of it");
      } catch (const std::exception& error) {
        message = to_message(unreadable(error.what()));
      }
      tell(frame_of(todo[i], static_cast<std::uint32_t>(message.size())) + message);
    }
  };
  {
    std::vector<std::jthread> threads;
    while (threads.size() + 1 < std::min(most_threads, todo.size())) threads.emplace_back(work);
    work();
  }
  ::_exit(0);
}

class Apart {
 public:
  Apart(const std::vector<ProbeJob>& jobs, milliseconds patience, const ProbeFunction& function)
      : jobs_(jobs), patience_(patience), function_(function), found_(jobs.size()) {}

  std::vector<Probe> run() {
    const std::set<std::string> waited_for = stuck().identities();
    for (std::size_t job = 0; job < jobs_.size(); ++job) {
      if (waited_for.contains(jobs_[job].identity)) {
        found_[job] = unreadable("it still does not answer");
      } else {
        left_.insert(job);
      }
    }
    // Each round ends with all of its jobs done, or with a process that died or waits for good.
    while (!left_.empty()) one_process();
    return std::move(found_);
  }

 private:
  void one_process() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
      throw_errno(errno, "make a socket");
    UniqueFd ours(ends[0]);
    UniqueFd theirs(ends[1]);
    std::vector<std::size_t> todo(left_.begin(), left_.end());
    if (one_by_one_) todo.resize(1);
    const pid_t child = ::fork();
    if (child < 0) throw_errno(errno, "start a process that reads the devices");
    if (child == 0) {
      ours.reset();
      work_apart(theirs.get(), jobs_, todo, function_);
    }
    theirs.reset();
    begun_.clear();
    hung_.clear();
    hung_jobs_ = 0;
    buffer_.clear();
    const std::size_t threads = std::min(most_threads, todo.size());
    const bool ended = listen(ours.get(), threads);
    finish(child, ended);
  }

  // True: the process has ended by itself.
  bool listen(int socket, std::size_t threads) {
    const std::size_t rest = one_by_one_ ? left_.size() - 1 : 0;
    while (left_.size() > rest) {
      give_up_on_late();
      if (left_.size() == rest || hung_jobs_ == threads) return false;
      auto next = Clock::time_point::max();
      for (const auto& [job, since] : begun_) next = std::min(next, since + patience_of(job));
      const auto wait = next == Clock::time_point::max()
                            ? patience_
                            : std::chrono::duration_cast<milliseconds>(next - Clock::now());
      pollfd fd{.fd = socket, .events = POLLIN, .revents = 0};
      const int ready = ::poll(&fd, 1, static_cast<int>(std::max<long>(0, wait.count()) + 1));
      if (ready < 0 && errno != EINTR) throw_errno(errno, "wait for the devices");
      if (ready > 0 && !receive(socket)) return true;
    }
    return false;
  }

  milliseconds patience_of(std::size_t job) const {
    return jobs_[job].slow ? patience_ / 5 : patience_;
  }

  void give_up_on_late() {
    const auto now = Clock::now();
    for (auto at = begun_.begin(); at != begun_.end();) {
      const milliseconds patience = patience_of(at->first);
      if (now < at->second + patience) {
        ++at;
        continue;
      }
      const auto seconds = std::chrono::duration<double>(patience).count();
      found_[at->first] = unreadable(fmt::format("it did not answer within {:g} s", seconds));
      left_.erase(at->first);
      hung_.insert(jobs_[at->first].identity);
      ++hung_jobs_;
      at = begun_.erase(at);
    }
  }

  // False: nothing more comes.
  bool receive(int socket) {
    std::array<char, 65536> part{};
    const ssize_t got = ::recv(socket, part.data(), part.size(), 0);
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) return false;
    buffer_.append(part.data(), static_cast<std::size_t>(got));
    while (take_frame()) {
    }
    return true;
  }

  bool take_frame() {
    Frame frame;
    if (buffer_.size() < sizeof frame) return false;
    std::memcpy(&frame, buffer_.data(), sizeof frame);
    if (frame.size == Frame::begun) {
      if (left_.contains(frame.job)) begun_[frame.job] = Clock::now();
      buffer_.erase(0, sizeof frame);
      return true;
    }
    if (frame.size > longest_message || frame.job >= jobs_.size())
      throw Error(Code::internal, "read what a probe has found");
    if (buffer_.size() < sizeof frame + frame.size) return false;
    // One that was given up, and answers all the same, is too late: it stays unreadable this time.
    if (left_.contains(frame.job)) {
      found_[frame.job] = from_message(std::string_view(buffer_).substr(sizeof frame, frame.size));
      left_.erase(frame.job);
      begun_.erase(frame.job);
    }
    buffer_.erase(0, sizeof frame + frame.size);
    return true;
  }

  void finish(pid_t child, bool ended) {
    // It died of one of those that it had begun: which one shows when each gets its own process.
    if (ended && !one_by_one_) {
      one_by_one_ = true;
    } else if (ended && !left_.empty()) {
      found_[*left_.begin()] = unreadable("what is on it ended the program that read it");
      left_.erase(left_.begin());
    }
    ::kill(child, SIGKILL);
    if (hung_.empty()) {
      while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
      }
    } else {
      stuck().add(child, hung_);
    }
  }

  const std::vector<ProbeJob>& jobs_;
  milliseconds patience_;
  const ProbeFunction& function_;
  std::vector<Probe> found_;
  std::set<std::size_t> left_;
  std::map<std::size_t, Clock::time_point> begun_;
  std::set<std::string> hung_;
  std::size_t hung_jobs_ = 0;
  bool one_by_one_ = false;
  std::string buffer_;
};

}  // namespace

// A probe is written as what it will be part of: a graph, whose first device has what was found,
// and whose others are its partitions.
std::string to_message(const Probe& probe) {
  DeviceGraph graph;
  Device device;
  device.content = probe.content;
  device.luks = probe.luks;
  device.in_use = probe.in_use;
  device.gaps = probe.gaps;
  device.sample = probe.sample;
  device.opal = probe.opal;
  device.read_only = probe.no_medium;
  if (probe.file_system) {
    device.major = probe.file_system->major;
    device.minor = probe.file_system->minor;
  }
  device.removable = probe.file_system.has_value();
  graph.devices.push_back(std::move(device));
  for (const PartitionEntry& entry : probe.partitions) {
    Device partition;
    partition.start = entry.start;
    partition.size = entry.size;
    partition.partition_uuid = entry.uuid;
    partition.partition_type = entry.type;
    partition.partition_label = entry.label;
    graph.devices.push_back(std::move(partition));
  }
  return to_json(graph, -1);
}

Probe from_message(std::string_view text) {
  DeviceGraph graph = graph_from_json(text);
  if (graph.devices.empty()) throw Error(Code::bad_graph, "read a probe: nothing was found");
  Probe probe;
  Device& device = graph[0];
  probe.content = std::move(device.content);
  probe.luks = std::move(device.luks);
  probe.in_use = std::move(device.in_use);
  probe.gaps = std::move(device.gaps);
  probe.sample = std::move(device.sample);
  probe.opal = std::move(device.opal);
  probe.no_medium = device.read_only;
  if (device.removable) probe.file_system = {.major = device.major, .minor = device.minor};
  for (std::size_t i = 1; i < graph.devices.size(); ++i) {
    Device& partition = graph[i];
    probe.partitions.push_back({.start = partition.start,
                                .size = partition.size,
                                .uuid = std::move(partition.partition_uuid),
                                .type = std::move(partition.partition_type),
                                .label = std::move(partition.partition_label)});
  }
  return probe;
}

std::vector<Probe> probe_apart(const std::vector<ProbeJob>& jobs, milliseconds patience,
                               const ProbeFunction& function) {
  return Apart(jobs, patience, function).run();
}

std::vector<Probe> probe_all(const std::vector<ProbeJob>& jobs, milliseconds patience,
                             const std::function<void()>& before) {
  std::vector<Probe> found(jobs.size());
  std::vector<ProbeJob> apart;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (is_block_device(jobs[i].node)) {
      apart.push_back(jobs[i]);
      places.push_back(i);
    } else {
      found[i] = probe(jobs[i].node, jobs[i].options);
    }
  }
  // Of each process that is forked its own, still unused.
  std::once_flag first;
  std::vector<Probe> read = probe_apart(apart, patience, [&](const ProbeJob& job) {
    if (before) std::call_once(first, before);
    return probe(job.node, job.options);
  });
  for (std::size_t i = 0; i < places.size(); ++i) found[places[i]] = std::move(read[i]);
  return found;
}

}  // namespace volseal
