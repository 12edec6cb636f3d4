#include "core/watch/claim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace volseal {

namespace {

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

void read_partitions_again(const ClaimJob& job) {
  const UniqueFd fd = open_node(job.node);
  if (fd && is_device(fd.get(), job.id)) (void)::ioctl(fd.get(), BLKRRPART);
}

bool is_writable(int fd) {
  int read_only = 1;
  return ::ioctl(fd, BLKROGET, &read_only) == 0 && read_only == 0;
}

}  // namespace volseal
