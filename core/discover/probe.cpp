#include "core/discover/probe.h"

#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/discover/hardware.h"
#include "core/discover/samples.h"
#include "core/discover/superblock.h"
#include "core/luks/header.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>

namespace volseal {
namespace {

using Prober = Handle<blkid_struct_probe, blkid_free_probe>;

// What may be seen at the start of a volume's data. Signatures of two bytes, which random sectors
// show now and then, are not among them.
constexpr std::array<std::string_view, 6> plain_signatures = {"ext4", "ext3",  "ext2",
                                                              "xfs",  "btrfs", "LVM2_member"};

Prober prober(int fd, std::uint64_t offset) {
  Prober result(blkid_new_probe());
  if (!result ||
      blkid_probe_set_device(result.get(), fd, static_cast<blkid_loff_t>(offset), 0) != 0) {
    return nullptr;
  }
  blkid_probe_enable_superblocks(result.get(), 1);
  blkid_probe_set_superblocks_flags(result.get(), BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID |
                                                      BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
                                                      BLKID_SUBLKS_VERSION);
  return result;
}

std::string value_of(const Prober& prober, const char* name) {
  const char* data = nullptr;
  std::size_t size = 0;
  if (blkid_probe_lookup_value(prober.get(), name, &data, &size) != 0 || data == nullptr) return "";
  const std::string text(data, size);
  return text.substr(0, text.find('\0'));
}

ContentKind kind_of(const std::string& type, const std::string& usage) {
  if (type == "swap") return ContentKind::swap;
  if (type == "swsuspend") return ContentKind::hibernation;
  if (type == "crypto_LUKS") return ContentKind::luks2;
  if (type == "LVM2_member" || type == "LVM1_member") return ContentKind::lvm_member;
  if (type == "bcache") return ContentKind::bcache_member;
  if (usage == "raid") {
    return type.ends_with("_raid_member") ? ContentKind::md_member : ContentKind::other;
  }
  return usage == "filesystem" ? ContentKind::filesystem : ContentKind::other;
}

// Every signature, where they contradict each other.
std::string all_signatures(const Prober& prober) {
  constexpr std::size_t most = 16;
  std::vector<std::string> found;
  blkid_reset_probe(prober.get());
  while (found.size() < most && blkid_do_probe(prober.get()) == 0) {
    for (const char* name : {"TYPE", "PTTYPE"}) {
      const std::string type = value_of(prober, name);
      if (!type.empty() && std::ranges::find(found, type) == found.end()) found.push_back(type);
    }
  }
  return fmt::format("{}", fmt::join(found, ", "));
}

// A table may name as many as it likes. The kernel makes 256 of them (block/partitions/check.h).
constexpr int most_partitions = 1024;

std::vector<PartitionEntry> partitions_of(blkid_partlist list) {
  std::vector<PartitionEntry> entries;
  const auto text = [](const char* value) { return std::string(value == nullptr ? "" : value); };
  for (int i = 0; i < blkid_partlist_numof_partitions(list); ++i) {
    blkid_partition at = blkid_partlist_get_partition(list, i);
    if (at == nullptr) continue;
    PartitionEntry entry{.start = static_cast<std::uint64_t>(blkid_partition_get_start(at)) * 512,
                         .size = static_cast<std::uint64_t>(blkid_partition_get_size(at)) * 512,
                         .uuid = text(blkid_partition_get_uuid(at)),
                         .type = text(blkid_partition_get_type_string(at)),
                         .label = text(blkid_partition_get_name(at))};
    if (entry.type.empty()) entry.type = fmt::format("{:#x}", blkid_partition_get_type(at));
    entries.push_back(std::move(entry));
  }
  return entries;
}

// A file system that can be read where the ciphertext should be.
std::string plaintext_at(int fd, std::uint64_t offset) {
  const Prober at = prober(fd, offset);
  if (!at || blkid_do_safeprobe(at.get()) != 0) return "";
  const std::string type = value_of(at, "TYPE");
  return std::ranges::find(plain_signatures, type) != plain_signatures.end() ? type : "";
}

// Space between, before and behind the partitions, where a deleted one may have left its data. The
// first MiB and the last are boot loaders' and partition tables' own.
std::vector<Gap> gaps_of(const Reader& reader, const std::vector<PartitionEntry>& partitions) {
  constexpr std::uint64_t mebibyte = 1U << 20U;
  constexpr std::size_t most = 64;
  if (reader.size() < 4 * mebibyte) return {};
  std::vector<Gap> places;
  std::uint64_t from = mebibyte;
  const auto note = [&](std::uint64_t to) {
    if (to > from && to - from >= mebibyte) places.push_back({.start = from, .size = to - from});
  };
  std::vector<PartitionEntry> sorted = partitions;
  std::ranges::sort(sorted, {}, &PartitionEntry::start);
  for (const PartitionEntry& entry : sorted) {
    note(std::min(entry.start, reader.size()));
    from = std::max(from, entry.start + entry.size);
  }
  note(reader.size() - mebibyte);
  if (places.size() > most) {
    std::ranges::nth_element(places, places.begin() + most, std::ranges::greater{}, &Gap::size);
    places.resize(most);
    std::ranges::sort(places, {}, &Gap::start);
  }
  std::erase_if(places, [&](Gap& gap) {
    const Look look = look_at_stretch(reader, gap.start, gap.size);
    if (look == Look::zeros) return true;
    gap.type = plaintext_at(reader.fd(), gap.start);
    gap.random = gap.type.empty() && look == Look::random;
    return false;
  });
  return places;
}

void read_luks(const Reader& reader, Probe& result) {
  auto header = parse_header(
      [&](std::uint64_t offset, std::size_t size) { return reader.read(offset, size); },
      reader.size());
  const bool said_so = result.content.type == "crypto_LUKS";
  if (!header) {
    if (said_so) {
      result.luks = LuksHeader{.damage = "there is a LUKS signature and no header"};
    }
    return;
  }
  if (!said_so && result.content.kind == ContentKind::unknown && result.content.type.empty()) {
    // Nothing but a second header copy is left.
    result.content = {.kind = ContentKind::luks2, .type = "crypto_LUKS", .uuid = header->uuid};
  }
  if (result.content.kind == ContentKind::luks2 && header->version == 1) {
    result.content.kind = ContentKind::luks1;
  }
  for (const LuksSegment& segment : header->segments) {
    if (segment.type != "crypt" || segment.offset >= reader.size()) continue;
    if (header->plaintext.empty()) header->plaintext = plaintext_at(reader.fd(), segment.offset);
  }
  result.luks = std::move(header);
}

void read_content(const Reader& reader, Probe& result) {
  Content& content = result.content;
  const Prober all = prober(reader.fd(), 0);
  if (!all) {
    content = {.kind = ContentKind::unreadable, .detail = "libblkid cannot read it"};
    return;
  }
  blkid_probe_enable_partitions(all.get(), 1);
  switch (blkid_do_safeprobe(all.get())) {
    case 0: {
      const std::string table = value_of(all, "PTTYPE");
      content.type = value_of(all, "TYPE");
      content.label = value_of(all, "LABEL");
      content.uuid = value_of(all, "UUID");
      content.kind = kind_of(content.type, value_of(all, "USAGE"));
      if (content.type.empty()) {
        content.kind = table.empty() ? ContentKind::unknown : ContentKind::partition_table;
        content.type = table;
        content.uuid = value_of(all, "PTUUID");
      } else if (!table.empty()) {
        content.detail = "there is a partition table of type " + table + " too";
      }
      break;
    }
    case 1: break;
    case -2: content.detail = "its signatures contradict each other: " + all_signatures(all); break;
    default:
      content = {.kind = ContentKind::unreadable, .detail = "libblkid cannot read it"};
      return;
  }
  if (content.kind == ContentKind::filesystem) {
    const FilesystemSize found = filesystem_size(reader, content.type);
    content.size = found.size;
    content.used = found.used;
    content.block_size = found.block_size;
    content.fscrypt = found.fscrypt;
  }
  if (blkid_partlist list = blkid_probe_get_partitions(all.get()); list != nullptr) {
    const int count = blkid_partlist_numof_partitions(list);
    if (count > most_partitions) {
      content.kind = ContentKind::unknown;
      content.detail = fmt::format("its partition table has {} entries", count);
      return;
    }
    result.partitions = partitions_of(list);
  }
  if (content.kind == ContentKind::unknown || content.type == "crypto_LUKS") {
    read_luks(reader, result);
  }
  if (content.kind != ContentKind::unknown || !content.detail.empty() || result.luks) return;
  switch (look_at_samples(reader)) {
    case Look::zeros: content.kind = ContentKind::blank; break;
    case Look::random: content.detail = "no signature, and what was sampled looks random"; break;
    case Look::data: content.detail = "no signature, but not blank"; break;
  }
}

// Where ciphertext should lie, by the header on the device or by the table of the mapping.
std::optional<Sample> sample_of(const Path& node, const std::optional<LuksHeader>& luks,
                                std::vector<Stretch> stretches) {
  if (luks) {
    for (const LuksSegment& segment : luks->segments) {
      // With integrity, dm-integrity's own metadata lies in between.
      if (segment.type == "crypt" && segment.integrity.empty() && luks->reencryption.empty())
        stretches.push_back(
            {.node = node, .start = segment.offset, .size = segment.size.value_or(UINT64_MAX)});
    }
  }
  if (stretches.empty()) return std::nullopt;
  Sample all;
  for (const Stretch& stretch : stretches) {
    try {
      sample_stretch(stretch.node, stretch.start, stretch.size, all);
    } catch (const Error&) {
      // What could not be read is no sample; that there are none says so.
      continue;
    }
    if (!all.signature.empty()) continue;
    const UniqueFd fd(::open(stretch.node.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (fd) all.signature = plaintext_at(fd.get(), stretch.start);
  }
  return all;
}

std::string claim_of(const Path& node) {
  const UniqueFd fd(::open(node.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_EXCL));
  return !fd && errno == EBUSY ? "the kernel or a program has claimed it exclusively" : "";
}

std::string reason_of(int error) {
  return std::generic_category().message(error);
}

}  // namespace

Probe probe(const Path& node, const ProbeOptions& options) {
  Probe result;
  const UniqueFd fd(::open(node.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) {
    result.no_medium = errno == ENOMEDIUM;
    result.content = {.kind = ContentKind::unreadable, .detail = reason_of(errno)};
    return result;
  }
  if (!S_ISBLK(info.st_mode) && !S_ISREG(info.st_mode)) {
    result.content = {.kind = ContentKind::unreadable, .detail = "is no block device"};
    return result;
  }
  try {
    const Reader reader(fd.get());
    if (reader.size() == 0) {
      result.content.detail = "it is empty";
      return result;
    }
    if (S_ISBLK(info.st_mode)) {
      result.file_system = file_system_below(fd.get());
      if (options.whole_disk) result.opal = opal_of(fd.get());
    }
    read_content(reader, result);
    if (options.whole_disk && result.content.kind == ContentKind::partition_table)
      result.gaps = gaps_of(reader, result.partitions);
    if (options.sample) result.sample = sample_of(node, result.luks, options.samples);
  } catch (const Error& error) {
    result.content = {.kind = ContentKind::unreadable, .detail = error.what()};
    result.luks.reset();
  }
  if (options.claim && S_ISBLK(info.st_mode)) result.in_use = claim_of(node);
  return result;
}

}  // namespace volseal
