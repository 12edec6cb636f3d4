#include "core/watch/claim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t most_at_once = 32;

UniqueFd open_node(const Path& node, int more = 0) {
  return UniqueFd(::open(node.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW | more));
}

bool is_device(int fd, const DeviceId& id) {
  struct stat info{};
  if (::fstat(fd, &info) != 0 || !S_ISBLK(info.st_mode)) return false;
  std::uint64_t diskseq = 0;
  return id.diskseq == 0 || ::ioctl(fd, BLKGETDISKSEQ, &diskseq) != 0 || diskseq == id.diskseq;
}

bool set_read_only(int fd, bool wanted) {
  const int value = wanted ? 1 : 0;
  return ::ioctl(fd, BLKROSET, &value) == 0;
}

std::string reason_of(int error) {
  return std::strerror(error);  // NOLINT(concurrency-mt-unsafe): glibc's is safe for known errors
}

}  // namespace

std::string to_string(const DeviceId& id) {
  return fmt::format("{}.{}", id.name, id.diskseq);
}

Claimed claim(const ClaimJob& job) {
  Claimed result{.done = true};
  UniqueFd fd = open_node(job.node, O_EXCL);
  if (!fd) {
    result.in_use = errno == EBUSY;
    result.problem = result.in_use ? "it is in use" : "it cannot be claimed: " + reason_of(errno);
    return result;
  }
  if (!is_device(fd.get(), job.id)) {
    result.problem = "it is another device by now";
    return result;
  }
  if (!set_read_only(fd.get(), true)) {
    result.problem = "it cannot be made read-only: " + reason_of(errno);
    return result;
  }
  for (const Path& node : job.parts) {
    const UniqueFd part = open_node(node);
    if (part && is_device(part.get(), job.id)) set_read_only(part.get(), true);
  }
  result.fd = std::move(fd);
  return result;
}

std::string make_writable(const ClaimJob& job) {
  const UniqueFd fd = open_node(job.node);
  if (!fd) return reason_of(errno);
  if (!is_device(fd.get(), job.id)) return "it is another device by now";
  if (!set_read_only(fd.get(), false)) return reason_of(errno);
  for (const Path& node : job.parts) {
    const UniqueFd part = open_node(node);
    if (part && is_device(part.get(), job.id)) set_read_only(part.get(), false);
  }
  return "";
}

bool is_writable(int fd) {
  int read_only = 1;
  return ::ioctl(fd, BLKROGET, &read_only) == 0 && read_only == 0;
}

struct Claims::Pending {
  std::mutex mutex;
  std::condition_variable changed;
  Claimed result;
};

std::map<DeviceId, Claimed> Claims::take(const std::vector<ClaimJob>& jobs,
                                         std::chrono::milliseconds patience) {
  // What nobody wants any more, such as a disk that was pulled out meanwhile, is let go of.
  std::erase_if(pending_, [&](const auto& one) {
    const std::scoped_lock lock(one.second->mutex);
    return one.second->result.done &&
           std::ranges::find(jobs, one.first, &ClaimJob::id) == jobs.end();
  });
  std::map<DeviceId, Claimed> taken;
  for (std::size_t first = 0; first < jobs.size(); first += most_at_once) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    const std::size_t end = std::min(jobs.size(), first + most_at_once);
    std::set<DeviceId> waited_before;
    for (std::size_t i = first; i < end; ++i) {
      const ClaimJob& job = jobs[i];
      if (pending_.contains(job.id)) {
        waited_before.insert(job.id);
        continue;
      }
      auto pending = std::make_shared<Pending>();
      pending_.emplace(job.id, pending);
      // An open of a device that hangs cannot be interrupted: so the thread may stay behind.
      std::thread([job, pending] {
        Claimed result = claim(job);
        const std::scoped_lock lock(pending->mutex);
        pending->result = std::move(result);
        pending->changed.notify_all();
      }).detach();
    }
    for (std::size_t i = first; i < end; ++i) {
      const auto at = pending_.find(jobs[i].id);
      const std::shared_ptr<Pending> pending = at->second;
      std::unique_lock lock(pending->mutex);
      if (!waited_before.contains(jobs[i].id))
        pending->changed.wait_until(lock, deadline, [&] { return pending->result.done; });
      if (pending->result.done) {
        taken.emplace(jobs[i].id, std::move(pending->result));
        pending_.erase(at);
      } else {
        taken.emplace(jobs[i].id, Claimed{.problem = "it does not answer"});
      }
    }
  }
  return taken;
}

}  // namespace volseal
