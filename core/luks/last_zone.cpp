#include "core/luks/last_zone.h"

#include "core/base/base64.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/secret.h"
#include "core/luks/encryption.h"
#include "core/luks/header.h"
#include "core/luks/volume.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

namespace {

using HeaderJson = nlohmann::ordered_json;

// LUKS2 on-disk format 1.1, section 2.1: the binary part of each copy, big endian.
constexpr std::size_t binary_bytes = 4096;
constexpr std::size_t size_at = 8;
constexpr std::size_t sequence_at = 16;
constexpr std::size_t algorithm_at = 72;
constexpr std::size_t checksum_at = 448;
constexpr std::size_t checksum_bytes = 64;
constexpr std::size_t largest_copy = 4U << 20U;

std::uint64_t number_at(std::string_view data, std::size_t at) {
  std::uint64_t number = 0;
  for (const char c : data.substr(at, sizeof number))
    number = number << 8U | static_cast<unsigned char>(c);
  return number;
}

void put_number(std::string& data, std::size_t at, std::uint64_t number) {
  for (std::size_t i = sizeof number; i-- > 0; number >>= 8U)
    data[at + i] = static_cast<char>(number & 0xFFU);
}

std::string whole_head(const Path& device, std::uint64_t size) {
  std::string head = read_head(device, size);
  if (head.size() < size)
    throw Error(Code::damaged, "read the header of {}: it is cut off", device.native());
  return head;
}

void write_at(int fd, std::string_view data, std::uint64_t offset, const Path& device) {
  if (::lseek(fd, static_cast<off_t>(offset), SEEK_SET) < 0)
    throw_errno(errno, "seek in {}", device.native());
  write_all(fd, data, device.native());
}

HeaderJson json_in(std::string_view copy) {
  const std::string_view text = copy.substr(binary_bytes);
  const HeaderJson json = HeaderJson::parse(text.substr(0, text.find('\0')), nullptr, false);
  return json.is_object() ? json : HeaderJson::object();
}

bool has_flag(const HeaderJson& segment, std::string_view flag) {
  const auto flags = segment.find("flags");
  return flags != segment.end() && flags->is_array() &&
         std::ranges::any_of(*flags, [&](const HeaderJson& one) {
           return one.is_string() && one.get_ref<const std::string&>().starts_with(flag);
         });
}

HeaderJson without_flags(HeaderJson segment) {
  segment.erase("flags");
  return segment;
}

// What the header says when all zones are done.
struct Ending {
  LastZone zone = LastZone::ahead;
  std::vector<std::string> backups;      // ids of segments that only a re-encryption needs
  std::vector<std::string> keyslots;     // its own
  std::optional<HeaderJson> clear_copy;  // the segment that was moved out of the header's way
};

bool is_converting(const HeaderJson& json) {
  const HeaderJson wanted =
      json.value(HeaderJson::json_pointer("/config/requirements/mandatory"), HeaderJson::array());
  return wanted.is_array() && !wanted.empty() &&
         std::ranges::all_of(wanted, [](const HeaderJson& one) {
           return one.is_string() &&
                  one.get_ref<const std::string&>().starts_with("online-reencrypt");
         });
}

// Nothing: it is anything else.
std::optional<Ending> ending_of(const HeaderJson& json) {
  if (!is_converting(json) || !json.contains("segments") || !json["segments"].is_object() ||
      !json.contains("keyslots") || !json["keyslots"].is_object())
    return std::nullopt;
  Ending ending;
  std::vector<HeaderJson> in_force;
  std::optional<HeaderJson> before;
  std::optional<HeaderJson> after;
  for (const auto& [id, segment] : json["segments"].items()) {
    if (!segment.is_object()) return std::nullopt;
    if (!has_flag(segment, "backup-")) {
      in_force.push_back(segment);
      continue;
    }
    ending.backups.push_back(id);
    if (has_flag(segment, "backup-previous")) before = segment;
    if (has_flag(segment, "backup-final")) after = without_flags(segment);
    if (has_flag(segment, "backup-moved-segment")) ending.clear_copy = segment;
  }
  // One segment, the final one, and none of it under way: in-reencryption is a flag.
  if (in_force.size() != 1 || !after || !before || in_force.front() != *after ||
      after->value("size", "") != "dynamic")
    return std::nullopt;
  const std::string was = before->value("type", "");
  const std::string is = after->value("type", "");
  if (was == "linear" && is == "crypt") {
    ending.zone = LastZone::encrypted;
  } else if (was == "crypt" && is == "linear" && after->value("offset", "") == "0") {
    ending.zone = LastZone::decrypted;
  } else {
    return std::nullopt;
  }
  const std::string mode = ending.zone == LastZone::encrypted ? "encrypt" : "decrypt";
  for (const auto& [id, slot] : json["keyslots"].items()) {
    if (!slot.is_object() || slot.value("type", "") != "reencrypt") continue;
    if (slot.value("mode", "") != mode) return std::nullopt;
    ending.keyslots.push_back(id);
  }
  if (ending.keyslots.size() != 1) return std::nullopt;
  return ending;
}

void remove_ids(HeaderJson& digest, const char* key, const std::vector<std::string>& ids) {
  HeaderJson left = HeaderJson::array();
  for (const HeaderJson& id : digest.value(key, HeaderJson::array())) {
    if (std::ranges::none_of(ids, [&](const std::string& gone) { return id == gone; }))
      left.push_back(id);
  }
  digest[key] = std::move(left);
}

HeaderJson finished(HeaderJson json, const Ending& ending) {
  for (const std::string& id : ending.backups) json["segments"].erase(id);
  for (const std::string& id : ending.keyslots) json["keyslots"].erase(id);
  // A digest of nothing any more was the re-encryption's own.
  HeaderJson digests = HeaderJson::object();
  for (const auto& [id, digest] : json.at("digests").items()) {
    HeaderJson rest = digest;
    remove_ids(rest, "segments", ending.backups);
    remove_ids(rest, "keyslots", ending.keyslots);
    if (!rest["segments"].empty() || !rest["keyslots"].empty()) digests[id] = std::move(rest);
  }
  json["digests"] = std::move(digests);
  json["config"].erase("requirements");
  return json;
}

std::uint64_t decimal_in(const HeaderJson& segment, const char* key) {
  const std::string text = segment.value(key, "");
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return UINT64_MAX;
  return number;
}

void overwrite(const Path& device, const HeaderJson& segment, std::uint64_t data_begins) {
  const std::uint64_t offset = decimal_in(segment, "offset");
  const std::uint64_t size = decimal_in(segment, "size");
  const std::uint64_t end = size_of(device);
  if (size != header_bytes || offset < data_begins || offset > end || end - offset < size) {
    throw Error(Code::damaged,
                "finish the encryption of {}: the copy of its first segment lies at "
                "an impossible place",
                device.native());
  }
  // What lies in an encrypted volume looks random.
  constexpr std::size_t piece = 1U << 20U;
  const UniqueFd fd = open_file(device, O_WRONLY);
  for (std::uint64_t at = 0; at < size; at += piece) {
    const Secret random = Secret::random(piece);
    write_at(fd.get(), {random.chars(), random.size()}, offset + at, device);
  }
  sync_fd(fd.get(), device.native());
}

std::string with_metadata(std::string copy, const HeaderJson& json, std::uint64_t sequence,
                          const Path& device) {
  const std::string text = json.dump();
  if (text.size() >= copy.size() - binary_bytes)
    throw Error(Code::internal, "write the header of {}: too much metadata", device.native());
  copy.replace(binary_bytes, std::string::npos, text);
  copy.resize(number_at(copy, size_at), '\0');
  put_number(copy, sequence_at, sequence);
  // Over the copy with zeros in the checksum's place.
  copy.replace(checksum_at, checksum_bytes, checksum_bytes, '\0');
  const auto sum = from_hex(sha256_hex(std::string_view(copy)));
  if (!sum) throw Error(Code::internal, "sum up the header of {}", device.native());
  std::ranges::copy(*sum, copy.begin() + checksum_at);
  return copy;
}

}  // namespace

LastZone last_zone(const Path& device) {
  const auto header = read_header(device);
  // With one copy damaged the other counts: libcryptsetup, which comes first, repairs that.
  if (!header || header->version != 2 || header->requirements.empty()) return LastZone::ahead;
  const std::uint64_t size = number_at(whole_head(device, binary_bytes), size_at);
  if (size <= binary_bytes || size > largest_copy || !header->damage.empty())
    return LastZone::ahead;
  const auto ending = ending_of(json_in(whole_head(device, size)));
  return ending ? ending->zone : LastZone::ahead;
}

void finish_after_last_zone(const Path& device) {
  const UniqueFd fd = open_file(device, O_RDWR);
  const std::uint64_t size = number_at(whole_head(device, binary_bytes), size_at);
  const std::string copies = whole_head(device, 2 * size);
  const std::string primary = copies.substr(0, size);
  const std::string secondary = copies.substr(size);
  const HeaderJson json = json_in(primary);
  const auto ending = ending_of(json);
  const std::string_view algorithm = std::string_view(primary).substr(algorithm_at, 32);
  if (!ending || ending->zone != LastZone::encrypted ||
      algorithm.substr(0, algorithm.find('\0')) != "sha256")
    throw Error(Code::damaged, "finish the encryption of {}: its header contradicts itself",
                device.native());
  const HeaderJson last = finished(json, *ending);
  if (ending->clear_copy) {
    overwrite(device, *ending->clear_copy, decimal_in(last["segments"].begin().value(), "offset"));
  }
  const std::uint64_t sequence =
      std::max(number_at(primary, sequence_at), number_at(secondary, sequence_at)) + 1;
  write_at(fd.get(), with_metadata(primary, last, sequence, device), 0, device);
  sync_fd(fd.get(), device.native());
  write_at(fd.get(), with_metadata(secondary, last, sequence, device), size, device);
  sync_fd(fd.get(), device.native());
}

}  // namespace volseal
