#include "core/enroll/window.h"

#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/base/process.h"
#include "core/enroll/mapping_node.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace volseal {

Window::Window(const Path& device, std::uint64_t bytes, std::string name)
    : name_(bytes == 0 ? "" : std::move(name)), path_(device) {
  if (bytes == 0) return;
  remove_mapping(name_);
  run_or_throw({"dmsetup", "create", name_, "--noudevrules", "--table",
                fmt::format("0 {} linear {} 0", bytes / 512, device.native())});
  path_ = node_of_mapping(name_);
}

Window::~Window() {
  if (name_.empty()) return;
  // A failure leaves a mapping that the next run takes over.
  static_cast<void>(run({"dmsetup", "remove", "--retry", name_}));
}

bool zero_tail(const Path& device, std::uint64_t begin, const GoOn& go_on) {
  constexpr std::uint64_t chunk = 64ULL << 20U;
  const UniqueFd fd = open_file(device, O_WRONLY | O_EXCL);
  const std::uint64_t end = size_of(fd.get(), device);
  for (std::uint64_t at = begin; at < end; at += chunk) {
    std::array<std::uint64_t, 2> range = {at, std::min(chunk, end - at)};
    if (::ioctl(fd.get(), BLKZEROOUT, range.data()) != 0) {
      throw_errno(errno, "zero the free end of {}", device.native());
    }
    if (!go_on(at + range[1] - begin, end - begin)) return false;
  }
  sync_fd(fd.get(), device.native());
  return true;
}

}  // namespace volseal
