#include "core/discover/superblock.h"

#include <bit>
#include <span>
#include <vector>

namespace volseal {
namespace {

using Bytes = std::span<const std::uint8_t>;

// The caller has read that much.
std::uint64_t little(Bytes data, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;) value = value << 8U | data[offset + i];
  return value;
}

std::uint64_t big(Bytes data, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8U | data[offset + i];
  return value;
}

FilesystemSize checked(std::uint64_t blocks, std::uint64_t free, std::uint64_t block_size,
                       std::uint64_t device_size) {
  const bool sane = std::has_single_bit(block_size) && block_size >= 512 && block_size <= 65536 &&
                    blocks > 0 && blocks <= device_size / block_size && free <= blocks;
  if (!sane) return {};
  return {.size = blocks * block_size,
          .used = (blocks - free) * block_size,
          .block_size = static_cast<std::uint32_t>(block_size)};
}

FilesystemSize ext(Bytes super, std::uint64_t device_size) {
  constexpr std::uint64_t with_64bit = 0x80;
  const std::uint64_t log_block = little(super, 24, 4);
  if (log_block > 6) return {};
  const bool wide = (little(super, 96, 4) & with_64bit) != 0;
  const std::uint64_t blocks = little(super, 4, 4) | (wide ? little(super, 0x150, 4) << 32U : 0);
  const std::uint64_t free = little(super, 12, 4) | (wide ? little(super, 0x158, 4) << 32U : 0);
  FilesystemSize found = checked(blocks, free, 1024ULL << log_block, device_size);
  constexpr std::uint64_t with_encryption = 0x10000;
  found.fscrypt = (little(super, 96, 4) & with_encryption) != 0;
  return found;
}

FilesystemSize xfs(Bytes super, std::uint64_t device_size) {
  FilesystemSize found =
      checked(big(super, 8, 8), big(super, 144, 8), big(super, 4, 4), device_size);
  // It reads and writes by its own sectors, which are smaller than its blocks.
  if (found.block_size != 0) found.block_size = static_cast<std::uint32_t>(big(super, 102, 2));
  return found;
}

FilesystemSize btrfs(Bytes super, std::uint64_t device_size) {
  constexpr std::size_t own_device = 0xc9;  // the item of the device that bears this superblock
  const std::uint64_t block = little(super, 0x90, 4);
  if (block == 0) return {};
  const std::uint64_t total = little(super, own_device + 8, 8);
  const std::uint64_t used = little(super, own_device + 16, 8);
  return checked(total / block, total < used ? total : (total - used) / block, block, device_size);
}

}  // namespace

FilesystemSize filesystem_size(const Reader& reader, std::string_view type) {
  const auto read = [&](std::uint64_t offset) {
    constexpr std::size_t super_size = 1024;
    std::vector<std::uint8_t> data = reader.read(offset, super_size);
    data.resize(super_size);
    return data;
  };
  if (type == "ext2" || type == "ext3" || type == "ext4") return ext(read(1024), reader.size());
  if (type == "xfs") return xfs(read(0), reader.size());
  if (type == "btrfs") return btrfs(read(65536), reader.size());
  return {};
}

}  // namespace volseal
