#include "core/enroll/filesystem.h"

#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/base/human.h"
#include "core/base/process.h"

#include <ext2fs/ext2fs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <ranges>
#include <string_view>
#include <vector>

namespace volseal {

namespace {

std::uint64_t number_after(std::string_view text, std::string_view key, const Path& device) {
  const auto at = text.find(key);
  if (at != std::string_view::npos) {
    text.remove_prefix(at + key.size());
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    std::uint64_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc{})
      return value;
  }
  throw Error(Code::program_failed, "ask e2fsprogs about {}: no '{}' in its answer",
              device.native(), key);
}

std::uint64_t smallest_ext(const Path& device) {
  const std::string header = run_or_throw({"dumpe2fs", "-h", device.native()}).output;
  const std::uint64_t block = number_after(header, "Block size:", device);
  const std::string answer = run_or_throw({"resize2fs", "-P", device.native()}).output;
  return number_after(answer, "Estimated minimum size of the filesystem:", device) * block;
}

// What a block group ends at and holds.
struct BlockGroup {
  std::uint64_t end = 0;   // bytes
  std::uint64_t used = 0;  // bytes
};

struct CloseExt {
  void operator()(struct_ext2_filsys* raw) const { ext2fs_close_free(&raw); }
};
using Ext = std::unique_ptr<struct_ext2_filsys, CloseExt>;

Ext open_ext(const Path& device) {
  ext2_filsys raw = nullptr;
  if (const errcode_t error =
          ext2fs_open(device.c_str(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &raw);
      error != 0) {
    throw Error(Code::program_failed, "read the file system on {}: libext2fs says {}",
                device.native(), error);
  }
  return Ext(raw);
}

std::vector<BlockGroup> groups_of(const Path& device) {
  const Ext ext = open_ext(device);
  struct_ext2_filsys* const raw = ext.get();
  std::vector<BlockGroup> groups;
  groups.reserve(raw->group_desc_count);
  for (dgrp_t group = 0; group < raw->group_desc_count; ++group) {
    const std::uint64_t blocks = ext2fs_group_blocks_count(raw, group);
    const std::uint64_t free = ext2fs_bg_free_blocks_count(raw, group);
    groups.push_back({.end = (ext2fs_group_last_block2(raw, group) + 1) * raw->blocksize,
                      .used = (blocks - std::min(free, blocks)) * raw->blocksize});
  }
  return groups;
}

}  // namespace

bool is_used_ext(const Path& device) {
  const ProcessResult header = run({"dumpe2fs", "-h", device.native()});
  return header.status == 0 && number_after(header.output, "Mount count:", device) != 0;
}

std::vector<Extent> free_extents(const Path& device, std::uint64_t below, std::size_t most) {
  constexpr std::uint64_t least = 1ULL << 20U;
  constexpr std::uint64_t unit = 4096;
  if (run({"e2fsck", "-f", "-n", device.native()}).status != 0) return {};
  const Ext ext = open_ext(device);
  if (ext2fs_read_block_bitmap(ext.get()) != 0) return {};
  const std::uint64_t block = ext->blocksize;
  const blk64_t first = ext->super->s_first_data_block;
  const blk64_t last = std::min<blk64_t>(ext2fs_blocks_count(ext->super), below / block) - 1;
  std::vector<Extent> found;
  for (blk64_t at = first; at <= last;) {
    blk64_t begin = 0;
    if (ext2fs_find_first_zero_block_bitmap2(ext->block_map, at, last, &begin) != 0) break;
    blk64_t end = last + 1;
    if (ext2fs_find_first_set_block_bitmap2(ext->block_map, begin, last, &end) != 0) end = last + 1;
    const std::uint64_t from = (begin * block + unit - 1) / unit * unit;
    const std::uint64_t to = end * block / unit * unit;
    if (to >= from + least) found.push_back({.begin = from, .size = to - from});
    at = end;
  }
  if (found.size() > most) {
    std::ranges::nth_element(found, found.begin() + static_cast<std::ptrdiff_t>(most),
                             std::ranges::greater{}, &Extent::size);
    found.resize(most);
    std::ranges::sort(found, {}, &Extent::begin);
  }
  return found;
}

std::optional<ExtShrink> cheapest_ext_shrink(const Path& device, std::uint64_t most,
                                             bool quick_zero, std::uint64_t store) {
  constexpr std::uint64_t mib = 1ULL << 20U;
  // resize2fs's estimate is at times a little too low; a file system without any room is slow too.
  const std::uint64_t least = smallest_ext(device) / 20 * 21 + 16 * mib;
  const std::vector<BlockGroup> groups = groups_of(device);
  std::uint64_t behind = 0;
  std::optional<ExtShrink> best;
  std::uint64_t best_cost = 2 * most / 4 * 3;  // not worth it for less than a quarter
  for (const BlockGroup& group : std::views::reverse(groups)) {
    // The candidate ends where this group does; `behind` is what lies further back.
    if (group.end < least) break;
    if (group.end <= most && behind <= store) {
      // Read and written, to be encrypted and to be moved.
      const std::uint64_t zeroed = quick_zero ? 0 : most - group.end;
      const std::uint64_t cost = 2 * (group.end + behind) + zeroed;
      if (cost < best_cost) {
        best_cost = cost;
        best = ExtShrink{.bytes = group.end / 4096 * 4096, .moved = behind};
      }
    }
    behind += group.used;
  }
  return best;
}

void grow_ext(const Path& device) {
  const Path runtime = "/run/volseal";
  make_folder(runtime);
  std::string place = (runtime / "grow.XXXXXX").native();
  if (::mkdtemp(place.data()) == nullptr)
    throw_errno(errno, "make a folder in {}", runtime.native());
  const Finally remove([&] { ::rmdir(place.c_str()); });
  run_or_throw({"mount", "-o", "nosuid,nodev,noexec", device.native(), place});
  const Finally release([&] { static_cast<void>(run({"umount", place})); });
  run_or_throw({"resize2fs", device.native()});
}

void require_sound_ext(const Path& device) {
  // With -n e2fsck leaves a journal as it is, and finds nothing wrong; resize2fs refuses it.
  const std::string header = run_or_throw({"dumpe2fs", "-h", device.native()}).output;
  if (header.find(" needs_recovery") != std::string::npos ||
      run({"e2fsck", "-f", "-n", device.native()}).status != 0)
    check_ext(device);
}

void check_ext(const Path& device) {
  // 1: something was mended. 2: and the machine should reboot, which concerns mounted file systems.
  const ProcessResult result = run({"e2fsck", "-f", "-p", device.native()});
  if (result.status != 0 && result.status != 1) {
    throw Error(
        Code::unsafe,
        "check the file system on {}: e2fsck ends with status {}; run 'e2fsck -f {}' by hand",
        device.native(), result.status, device.native());
  }
}

void require_ext_fits(const Path& device, std::uint64_t bytes) {
  if (const std::uint64_t smallest = smallest_ext(device); smallest > bytes) {
    throw Error(Code::cannot_shrink,
                "make room for the LUKS header on {}: the file system needs {} and would get {}",
                device.native(), human_size(smallest), human_size(bytes));
  }
}

void shrink_ext(const Path& device, std::uint64_t bytes) {
  const bool image = std::filesystem::is_regular_file(device);
  const std::uintmax_t size = image ? std::filesystem::file_size(device) : 0;
  check_ext(device);
  run_or_throw({"resize2fs", device.native(), std::to_string(bytes / 1024) + "K"});
  // resize2fs cuts image files off at the end of the file system.
  if (image) std::filesystem::resize_file(device, size);
  run_or_throw({"e2fsck", "-f", "-n", device.native()});
}

void make_ext4(const Path& device, const std::string& label) {
  std::vector<std::string> argv = {"mkfs.ext4", "-q", "-F"};
  if (!label.empty()) {
    argv.emplace_back("-L");
    argv.push_back(label.substr(0, 16));
  }
  argv.push_back(device.native());
  run_or_throw(argv);
}

void make_swap(const Path& device, const std::string& uuid, const std::string& label) {
  std::vector<std::string> argv = {"mkswap"};
  if (!uuid.empty()) argv.insert(argv.end(), {"-U", uuid});
  if (!label.empty()) argv.insert(argv.end(), {"-L", label});
  argv.push_back(device.native());
  run_or_throw(argv);
}

}  // namespace volseal
