#include "core/enroll/shrinking.h"

#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/base/process.h"
#include "core/enroll/filesystem.h"
#include "core/enroll/mapping_node.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>

namespace volseal {

namespace {

// Sectors of a chunk of the snapshot: 4 KiB, the largest block of ext4 on this architecture.
constexpr int chunk_sectors = 8;

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// udev must not take the snapshot for the volume: it bears the same file system UUID.
void create_mapping(const std::string& name, const std::string& target, const Path& device,
                    const std::string& store) {
  run_or_throw({"dmsetup", "create", name, "--noudevrules", "--table",
                fmt::format("0 {} {} {} {} P {}", size_of(device) / 512, target, device.native(),
                            store, chunk_sectors)});
}

// "0 327680 snapshot-merge 16/131072 16": sectors in use, of all, of those for metadata.
bool is_merged(const std::string& name) {
  const std::string status = trimmed(run_or_throw({"dmsetup", "status", name}).output);
  const auto fraction = status.rfind('/');
  const auto space = status.rfind(' ');
  const auto before = status.rfind(' ', fraction);
  if (fraction == std::string::npos || space == std::string::npos || space < fraction) {
    throw Error(Code::io, "merge the snapshot {}: device-mapper says '{}'", name, status);
  }
  return status.substr(before + 1, fraction - before - 1) == status.substr(space + 1);
}

}  // namespace

Shrinking::Shrinking(Path device, Path store, std::string name)
    : device_(std::move(device)), store_(std::move(store)), name_(std::move(name)) {}

bool Shrinking::is_image() const {
  return std::filesystem::is_regular_file(device_);
}

// The store as a block device.
std::string Shrinking::attach() const {
  return trimmed(run_or_throw({"losetup", "--find", "--show", store_.native()}).output);
}

// Also what a cut or an error has left behind.
void Shrinking::detach() const {
  remove_mapping(name_);
  const std::string loops =
      run({"losetup", "--noheadings", "--output", "NAME", "--associated", store_.native()}).output;
  for (std::string_view rest = loops; !rest.empty();) {
    const auto newline = rest.find('\n');
    const std::string loop = trimmed(std::string(rest.substr(0, newline)));
    if (!loop.empty()) run({"losetup", "--detach", loop});
    if (newline == std::string_view::npos) break;
    rest.remove_prefix(newline + 1);
  }
}

void Shrinking::on_snapshot(std::uint64_t bytes, std::uint64_t moved) const {
  if (is_image()) {
    shrink_ext(device_, bytes);
    return;
  }
  detach();
  forget();
  write_file(store_, "");
  // Sparse. What resize2fs writes: the blocks that move, and metadata, of which inode tables are
  // the largest part (1/64 of the device by mke2fs' defaults).
  std::filesystem::resize_file(store_, (128ULL << 20U) + size_of(device_) / 32 + moved * 5 / 4);
  const Finally clean([&] { detach(); });
  create_mapping(name_, "snapshot", device_, attach());
  const Path snapshot = node_of_mapping(name_);
  shrink_ext(snapshot, bytes);
  sync_fd(open_file(snapshot, O_RDONLY).get(), snapshot.native());
  detach();
  sync_fd(open_file(store_, O_RDONLY).get(), store_.native());
  sync_folder(store_.parent_path());
}

void Shrinking::forget() const {
  if (!std::filesystem::exists(store_)) return;
  {
    const UniqueFd fd = open_file(store_, O_RDWR);
    const std::string zeros(1U << 20U, '\0');
    off_t end = 0;
    for (;;) {
      const off_t begin = ::lseek(fd.get(), end, SEEK_DATA);
      if (begin < 0 && errno == ENXIO) break;
      if (begin < 0) throw_errno(errno, "read {}", store_.native());
      end = ::lseek(fd.get(), begin, SEEK_HOLE);
      if (end < 0) throw_errno(errno, "read {}", store_.native());
      if (::lseek(fd.get(), begin, SEEK_SET) < 0) throw_errno(errno, "read {}", store_.native());
      for (off_t at = begin; at < end; at += static_cast<off_t>(zeros.size())) {
        const auto rest = static_cast<std::size_t>(end - at);
        write_all(fd.get(), std::string_view(zeros).substr(0, rest), store_.native());
      }
    }
    sync_fd(fd.get(), store_.native());
  }
  std::filesystem::remove(store_);
  sync_folder(store_.parent_path());
}

void Shrinking::mask() const {
  if (is_image()) return;
  const UniqueFd fd = open_file(device_, O_WRONLY);
  write_all(fd.get(), std::string(4096, '\0'), device_.native());
  sync_fd(fd.get(), device_.native());
}

void Shrinking::merge() const {
  if (is_image()) return;
  detach();
  const Finally clean([&] { detach(); });
  create_mapping(name_, "snapshot-merge", device_, attach());
  // The kernel sends no event for the end of a merge.
  while (!is_merged(name_)) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  detach();
  sync_fd(open_file(device_, O_RDONLY).get(), device_.native());
  run_or_throw({"e2fsck", "-f", "-n", device_.native()});
}

}  // namespace volseal
