#include "core/discover/sysfs.h"

#include "core/base/error.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

namespace volseal::sysfs {
namespace {

namespace fs = std::filesystem;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\0';
}

std::string trimmed(std::string text) {
  while (!text.empty() && is_space(text.back())) text.pop_back();
  text.erase(text.begin(), std::ranges::find_if_not(text, is_space));
  return text;
}

// "" for an attribute that is not there or cannot be read: devices come and go, drivers differ.
std::string attribute(const Path& folder, const char* name) {
  try {
    const std::string text = trimmed(read_file_if_any(folder / name, 65536).value_or(""));
    // Some drivers print the name that they do not have.
    return text == "(null)" ? "" : text;
  } catch (const Error&) {
    return "";
  }
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::uint64_t number_at(const Path& folder, const char* name) {
  return number(attribute(folder, name));
}

bool there(const Path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::vector<Path> entries(const Path& folder) {
  std::vector<Path> result;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    result.push_back(at->path());
  }
  return result;
}

// The name with every run of digits as a number: sda2 before sda10, dm-9 before dm-10.
std::vector<std::pair<std::string, std::uint64_t>> natural(std::string_view name) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  std::vector<std::pair<std::string, std::uint64_t>> parts;
  while (!name.empty()) {
    const auto letters = static_cast<std::size_t>(std::ranges::find_if(name, digit) - name.begin());
    const std::string_view rest = name.substr(letters);
    const auto digits =
        static_cast<std::size_t>(std::ranges::find_if_not(rest, digit) - rest.begin());
    parts.emplace_back(name.substr(0, letters), number(rest.substr(0, digits)));
    name = rest.substr(digits);
  }
  return parts;
}

// `word` and digits, nothing else: "ram0" is a RAM disk, "rambo" is not.
bool numbered(std::string_view name, std::string_view word) {
  if (!name.starts_with(word) || name.size() == word.size()) return false;
  return std::ranges::all_of(name.substr(word.size()), [](char c) { return c >= '0' && c <= '9'; });
}

DeviceKind kind_of(const std::string& name, const Path& folder) {
  if (there(folder / "partition")) return DeviceKind::partition;
  if (there(folder / "dm")) return DeviceKind::mapped;
  if (there(folder / "md")) return DeviceKind::md;
  if (there(folder / "loop")) return DeviceKind::loop;
  if (numbered(name, "zram")) return DeviceKind::zram;
  if (numbered(name, "sr")) return DeviceKind::optical;
  for (const char* word : {"nbd", "rbd", "drbd"}) {
    if (numbered(name, word)) return DeviceKind::network;
  }
  return there(folder / "device") || numbered(name, "ubd") || numbered(name, "bcache")
             ? DeviceKind::disk
             : DeviceKind::other;
}

// SCSI VPD page 0x80: four bytes of header, the last two the length, then the serial number.
std::string serial_of_vpd(const Path& file) {
  try {
    const std::string page = read_file_if_any(file, 65536).value_or("");
    if (page.size() < 4 || page[1] != '\x80') return "";
    return trimmed(page.substr(4, static_cast<unsigned char>(page[3])));
  } catch (const Error&) {
    return "";
  }
}

// A USB disk's serial number is that of the USB device some levels above it.
std::string serial_of_usb(Path place) {
  while (place.has_relative_path() && place != place.parent_path()) {
    if (there(place / "idVendor")) return attribute(place, "serial");
    place = place.parent_path();
  }
  return "";
}

void identify(Device& device, const Path& folder, const Path& place) {
  const Path hardware = folder / "device";
  device.bus = bus_of(place);
  if (device.bus == "nvme") {
    const std::string transport = attribute(hardware, "transport");
    if (!transport.empty() && transport != "pcie") device.bus = "nvme-" + transport;
  }
  device.vendor = attribute(hardware, "vendor");
  // A PCI number is no name.
  if (device.vendor.starts_with("0x")) device.vendor.clear();
  device.model = attribute(hardware, "model");
  if (device.model.empty() && device.bus == "mmc") device.model = attribute(hardware, "name");
  for (const Path& where : {folder, hardware}) {
    if (device.serial.empty()) device.serial = attribute(where, "serial");
    if (device.wwn.empty()) device.wwn = attribute(where, "wwid");
  }
  if (device.serial.empty()) device.serial = serial_of_vpd(hardware / "vpd_pg80");
  if (device.serial.empty() && device.bus == "usb") device.serial = serial_of_usb(place);
}

DeviceNumber numbers_of(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return {};
  return {.major = static_cast<std::uint32_t>(number(text)),
          .minor = static_cast<std::uint32_t>(number(std::string_view(text).substr(colon + 1)))};
}

// The caches of a bcache device: the kernel's list of what it is made of has only its backing
// device. bcacheN/bcache/cache leads to the set, which has cache0, cache1 ... lead to theirs.
void add_caches(const Path& place, std::set<std::string>& below) {
  for (const Path& entry : entries(place / "bcache" / "cache")) {
    if (!numbered(entry.filename().native(), "cache")) continue;
    std::error_code error;
    const Path cache = std::filesystem::canonical(entry, error);
    if (!error) below.insert(cache.parent_path().filename().native());
  }
}

std::optional<Block> read_block(const Path& entry) {
  const std::string name = entry.filename().native();
  if (numbered(name, "ram") || numbered(name, "fd")) return std::nullopt;
  std::error_code error;
  const Path place = fs::canonical(entry, error);
  if (error) return std::nullopt;
  Block block;
  Device& device = block.device;
  device.name = name;
  device.kind = kind_of(name, place);
  device.size = number_at(place, "size") * 512;
  if (device.size == 0) return std::nullopt;
  const DeviceNumber numbers = numbers_of(attribute(place, "dev"));
  device.major = numbers.major;
  device.minor = numbers.minor;
  device.read_only = attribute(place, "ro") == "1";
  // The queue, and what the drive is, are those of the whole disk.
  Path whole = place;
  if (device.kind == DeviceKind::partition) {
    whole = place.parent_path();
    device.start = number_at(place, "start") * 512;
    block.below.insert(whole.filename().native());
  }
  device.diskseq = number_at(whole, "diskseq");
  device.removable = attribute(whole, "removable") == "1";
  device.rotational = attribute(whole / "queue", "rotational") == "1";
  if (const auto size = number_at(whole / "queue", "logical_block_size"); size != 0) {
    device.logical_sector = static_cast<std::uint32_t>(size);
  }
  if (const auto size = number_at(whole / "queue", "physical_block_size"); size != 0) {
    device.physical_sector = static_cast<std::uint32_t>(size);
  }
  device.optimal_io = number_at(whole / "queue", "optimal_io_size");
  identify(device, whole, whole);
  switch (device.kind) {
    case DeviceKind::mapped:
      device.dm_name = attribute(place / "dm", "name");
      device.dm_uuid = attribute(place / "dm", "uuid");
      block.suspended = attribute(place / "dm", "suspended") == "1";
      break;
    case DeviceKind::md: device.md_level = attribute(place / "md", "level"); break;
    case DeviceKind::loop:
      device.backing_file = attribute(place / "loop", "backing_file");
      if (device.backing_file.empty()) return std::nullopt;
      break;
    case DeviceKind::zram:
      block.zram_backing = attribute(place, "backing_dev");
      if (block.zram_backing == "none") block.zram_backing.clear();
      break;
    case DeviceKind::disk:
    case DeviceKind::partition:
    case DeviceKind::optical:
    case DeviceKind::network:
    case DeviceKind::file:
    case DeviceKind::other: break;
  }
  for (const Path& slave : entries(place / "slaves")) {
    block.below.insert(slave.filename().native());
  }
  if (numbered(name, "bcache")) add_caches(place, block.below);
  return block;
}

}  // namespace

std::string bus_of(const Path& place) {
  // The first that fits wins: a USB disk is a SCSI host too, and the network is what matters of
  // iSCSI.
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 10> words = {
      {{"usb", "usb"},
       {"session", "iscsi"},
       {"rport-", "fc"},
       {"nvme", "nvme"},
       {"mmc", "mmc"},
       {"ata", "ata"},
       {"virtio", "virtio"},
       {"vbd-", "xen"},
       {"ndbus", "nvdimm"},
       {"host", "scsi"}}};
  for (const auto& [word, bus] : words) {
    for (const Path& part : place) {
      const std::string& text = part.native();
      if (text.starts_with(word) && text.size() > word.size() &&
          std::isdigit(static_cast<unsigned char>(text[word.size()])) != 0) {
        return std::string(bus);
      }
    }
  }
  return "";
}

std::vector<Block> read_blocks(const Path& sys) {
  const Path folder = sys / "class" / "block";
  if (!there(folder)) {
    throw Error(Code::not_found, "list block devices: {} is not there", folder.native());
  }
  std::vector<Block> blocks;
  for (const Path& entry : entries(folder)) {
    if (auto block = read_block(entry)) blocks.push_back(std::move(*block));
  }
  std::ranges::sort(blocks, {}, [](const Block& block) {
    return std::tuple(natural(block.device.name), block.device.name);
  });
  return blocks;
}

DeviceNumber resume_device(const Path& sys) {
  return numbers_of(attribute(sys / "power", "resume"));
}

std::map<std::string, std::vector<std::string>> btrfs_members(const Path& sys) {
  std::map<std::string, std::vector<std::string>> result;
  for (const Path& filesystem : entries(sys / "fs" / "btrfs")) {
    std::vector<std::string> members;
    for (const Path& member : entries(filesystem / "devices")) {
      members.push_back(member.filename().native());
    }
    for (const std::string& member : members) result[member] = members;
  }
  return result;
}

}  // namespace volseal::sysfs
