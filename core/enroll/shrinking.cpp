#include "core/enroll/shrinking.h"

#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/base/process.h"
#include "core/enroll/filesystem.h"
#include "core/enroll/mapping_node.h"
#include "core/luks/encryption.h"

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
constexpr std::uint64_t chunk_sectors = 8;

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// Of what is free, what the table of the mapping names.
constexpr std::size_t most_extents = 4096;

// udev must not take the snapshot for the volume: it bears the same file system UUID.
void create_mapping(const std::string& name, const std::string& target, const Path& device,
                    const std::string& store) {
  run_or_throw({"dmsetup", "create", name, "--noudevrules", "--table",
                fmt::format("0 {} {} {} {} P {}", size_of(device) / 512, target, device.native(),
                            store, chunk_sectors)});
}

// What is merged last is what has been written first (dm-snap-persistent.c goes backwards), and
// several chunks at once where they follow each other: so the superblock's is written first, and
// then one that does not follow it. A merge that is cut off leaves no superblock.
void let_superblock_come_last(const Path& snapshot) {
  constexpr std::uint64_t chunk = chunk_sectors * 512;
  const UniqueFd fd = open_file(snapshot, O_RDWR);
  const std::uint64_t last = (size_of(fd.get(), snapshot) - 1) / chunk * chunk;
  for (const std::uint64_t at : {std::uint64_t{0}, last}) {
    std::string data(chunk, '\0');
    const ssize_t got = ::pread(fd.get(), data.data(), data.size(), static_cast<off_t>(at));
    if (got <= 0) throw_errno(errno, "read {}", snapshot.native());
    if (::pwrite(fd.get(), data.data(), static_cast<std::size_t>(got), static_cast<off_t>(at)) !=
        got)
      throw_errno(errno, "write {}", snapshot.native());
    sync_fd(fd.get(), snapshot.native());
  }
}

// The snapshot, but for what the file system does not use: that is the device's own. So what moves
// is written once, to where it stays, and not by way of the store.
std::string table_of(const Path& device, const Path& snapshot, const std::vector<Extent>& unused) {
  const std::uint64_t end = size_of(device) / 512;
  std::string table;
  const auto add = [&](std::uint64_t from, std::uint64_t to, const Path& below) {
    if (to > from)
      table += fmt::format("{} {} linear {} {}\n", from, to - from, below.native(), from);
  };
  std::uint64_t at = 0;
  for (const Extent& extent : unused) {
    const std::uint64_t begin = extent.begin / 512;
    add(at, begin, snapshot);
    at = begin + extent.size / 512;
    add(begin, at, device);
  }
  add(at, end, snapshot);
  return table;
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
  remove_mapping(name_ + "-unused");
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
  let_superblock_come_last(snapshot);
  const std::string all = name_ + "-unused";
  run_or_throw({"dmsetup", "create", all, "--noudevrules"}, {0},
               table_of(device_, snapshot, free_extents(device_, bytes, most_extents)));
  const Path node = node_of_mapping(all);
  shrink_ext(node, bytes);
  // A flush goes to the device and to the snapshot.
  sync_fd(open_file(node, O_RDONLY).get(), node.native());
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
  // The first chunk is in the store.
  static_assert(superblock_bytes == chunk_sectors * 512);
  if (!is_image()) clear_superblock(device_);
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
