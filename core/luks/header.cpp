#include "core/luks/header.h"

#include "core/base/base64.h"
#include "core/base/digest.h"
#include "core/base/error.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <span>

namespace volseal {

namespace {

using Json = nlohmann::json;
using Buffer = std::vector<std::uint8_t>;
using Magic = std::array<std::uint8_t, 6>;

constexpr Magic magic_primary = {'L', 'U', 'K', 'S', 0xba, 0xbe};
constexpr Magic magic_secondary = {'S', 'K', 'U', 'L', 0xba, 0xbe};
constexpr std::size_t binary_size = 4096;
constexpr std::uint64_t smallest_header = 0x4000;
constexpr std::uint64_t largest_header = 0x400000;
constexpr std::uint64_t luks1_keyslots_at = 4096;  // LUKS_ALIGN_KEYSLOTS

std::uint64_t big_endian(const Buffer& data, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8U | data[offset + i];
  return value;
}

// A fixed-size, zero-padded text field.
std::string text_at(const Buffer& data, std::size_t offset, std::size_t size) {
  const auto begin = data.begin() + static_cast<std::ptrdiff_t>(offset);
  return {begin, std::find(begin, begin + static_cast<std::ptrdiff_t>(size), 0)};
}

bool starts_with(const Buffer& data, const Magic& magic) {
  return data.size() >= magic.size() && std::equal(magic.begin(), magic.end(), data.begin());
}

std::string fingerprint(const Json& json) {
  // Sorted keys, one way to write it; what is not UTF-8 is replaced, as nothing else may be there.
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  return sha256_hex(text);
}

IdentifiedHeader parse_luks1(const Buffer& data) {
  constexpr std::size_t keyslots_at = 208;
  constexpr std::size_t keyslot_size = 48;
  constexpr std::uint64_t active = 0x00AC71F3;
  IdentifiedHeader identified;
  LuksHeader& header = identified.header;
  header.version = 1;
  header.uuid = text_at(data, 168, 40);
  header.key_bytes = static_cast<std::uint32_t>(big_endian(data, 108, 4));
  LuksSegment segment;
  segment.type = "crypt";
  segment.cipher = text_at(data, 8, 32) + "-" + text_at(data, 40, 32);
  segment.offset = big_endian(data, 104, 4) * 512;
  segment.sector_size = 512;
  identified.keyslots_at = luks1_keyslots_at;
  identified.bytes = segment.offset;
  header.segments.push_back(std::move(segment));
  // mk-digest, mk-digest-salt, mk-digest-iterations
  identified.key_digest = sha256_hex(std::span(data).subspan(112, 20 + 32 + 4));
  for (int slot = 0; slot < 8; ++slot) {
    const std::size_t at = keyslots_at + static_cast<std::size_t>(slot) * keyslot_size;
    if (big_endian(data, at, 4) != active) continue;
    identified.keyslots.emplace(slot, sha256_hex(std::span(data).subspan(at, keyslot_size)));
    header.keyslots.push_back({.id = slot,
                               .type = "luks1",
                               .pbkdf = "pbkdf2",
                               .cost = big_endian(data, at + 4, 4),
                               .memory = 0,
                               .key_bytes = header.key_bytes,
                               .fingerprint = identified.keyslots.at(slot).substr(0, 16)});
  }
  if (header.key_bytes == 0 || header.key_bytes > 512)
    header.damage = "the key size makes no sense";
  return identified;
}

// The whole of one LUKS2 header copy, when its checksum is right; else why not.
struct Copy {
  std::optional<Buffer> data;
  std::string damage;
};

Copy read_copy(const ReadAt& read_at, std::uint64_t offset, const Magic& magic) {
  const auto bad = [](const char* why) { return Copy{.data = std::nullopt, .damage = why}; };
  Buffer data = read_at(offset, binary_size);
  if (data.size() < binary_size || !starts_with(data, magic)) return bad("it is missing");
  if (big_endian(data, 6, 2) != 2) return bad("its version is unknown");
  const std::uint64_t size = big_endian(data, 8, 8);
  const bool power_of_two = size != 0 && (size & (size - 1)) == 0;
  if (!power_of_two || size < smallest_header || size > largest_header)
    return bad("its size makes no sense");
  if (big_endian(data, 256, 8) != offset) return bad("it lies in the wrong place");
  const EVP_MD* digest = EVP_get_digestbyname(text_at(data, 72, 32).c_str());
  if (digest == nullptr) return bad("its checksum algorithm is unknown");
  data = read_at(offset, size);
  if (data.size() < size) return bad("it is cut off");

  // The checksum is computed over the copy with zeros in its place (LUKS2 section 2.1).
  constexpr std::ptrdiff_t checksum_at = 448;
  constexpr std::ptrdiff_t checksum_room = 64;
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> stored{};
  std::copy_n(data.begin() + checksum_at, checksum_room, stored.begin());
  std::fill_n(data.begin() + checksum_at, checksum_room, std::uint8_t{0});
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> computed{};
  unsigned length = 0;
  if (EVP_Digest(data.data(), data.size(), computed.data(), &length, digest, nullptr) != 1 ||
      !std::equal(computed.begin(), computed.begin() + length, stored.begin())) {
    return bad("its checksum is wrong");
  }
  return {.data = std::move(data), .damage = ""};
}

const Json* child(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() ? nullptr : &*at;
}

std::string text_of(const Json& object, const char* key) {
  const Json* value = child(object, key);
  if (value == nullptr || !value->is_string()) return "";
  return value->get_ref<const std::string&>().substr(0, 256);
}

std::uint32_t number_of(const Json& object, const char* key) {
  const Json* value = child(object, key);
  if (value == nullptr || !value->is_number_unsigned()) return 0;
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(value->get<std::uint64_t>(), UINT32_MAX));
}

// LUKS2 writes 64-bit numbers as decimal strings.
std::optional<std::uint64_t> decimal(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int> index_of(const std::string& key) {
  const auto value = decimal(key);
  if (!value || *value > 63) return std::nullopt;
  return static_cast<int>(*value);
}

// Objects keyed by small numbers, in the order of the numbers.
std::vector<std::pair<int, const Json*>> numbered(const Json& root, const char* key) {
  std::vector<std::pair<int, const Json*>> members;
  const Json* object = child(root, key);
  if (object == nullptr || !object->is_object()) return members;
  for (const auto& [name, value] : object->items()) {
    if (const auto index = index_of(name); index && value.is_object())
      members.emplace_back(*index, &value);
  }
  std::ranges::sort(members, {}, &std::pair<int, const Json*>::first);
  return members;
}

bool is_backup(const Json& segment) {
  const Json* flags = child(segment, "flags");
  return flags != nullptr && flags->is_array() && std::ranges::any_of(*flags, [](const Json& flag) {
           return flag.is_string() && flag.get_ref<const std::string&>().starts_with("backup-");
         });
}

void read_segments(const Json& root, LuksHeader& header) {
  for (const auto& [id, json] : numbered(root, "segments")) {
    if (is_backup(*json)) continue;
    const auto offset = decimal(text_of(*json, "offset"));
    const std::string size = text_of(*json, "size");
    LuksSegment segment;
    segment.type = text_of(*json, "type");
    segment.offset = offset.value_or(0);
    if (size != "dynamic") segment.size = decimal(size);
    segment.cipher = text_of(*json, "encryption");
    segment.sector_size = number_of(*json, "sector_size");
    if (const Json* integrity = child(*json, "integrity"))
      segment.integrity = text_of(*integrity, "type");
    if (!offset || (size != "dynamic" && !segment.size) || segment.type.empty()) {
      header.damage = "a segment makes no sense";
    }
    header.segments.push_back(std::move(segment));
  }
  if (header.segments.empty()) header.damage = "it has no segment";
}

void read_keyslots(const Json& root, LuksHeader& header) {
  for (const auto& [id, json] : numbered(root, "keyslots")) {
    Keyslot slot;
    slot.id = id;
    slot.type = text_of(*json, "type");
    slot.key_bytes = number_of(*json, "key_size");
    slot.fingerprint = fingerprint(*json).substr(0, 16);
    if (slot.type == "reencrypt") {
      header.reencryption = text_of(*json, "mode");
    } else {
      header.key_bytes = std::max(header.key_bytes, slot.key_bytes);
    }
    if (const Json* kdf = child(*json, "kdf")) {
      slot.pbkdf = text_of(*kdf, "type");
      slot.cost = std::max(number_of(*kdf, "iterations"), number_of(*kdf, "time"));
      slot.memory = number_of(*kdf, "memory");
    }
    header.keyslots.push_back(std::move(slot));
  }
}

// core/protect/escrow_token.h. The salt says whether the keyslot is still that of the escrowed key.
void read_escrow(const Json& root, const Json& json, Token& token) {
  constexpr std::size_t most_certificates = 16;
  const auto slot = index_of(text_of(json, "keyslot"));
  const std::string salt = text_of(json, "keyslot-salt");
  for (const auto& [id, keyslot] : numbered(root, "keyslots")) {
    const Json* kdf = child(*keyslot, "kdf");
    if (slot == id && kdf != nullptr && !salt.empty() && text_of(*kdf, "salt") == salt) {
      token.escrowed_keyslot = id;
    }
  }
  token.threshold = number_of(json, "threshold");
  token.acknowledged = text_of(json, "acknowledged");
  token.escrowed_to = text_of(json, "to");
  token.blob = text_of(json, "blob");
  const Json* certificates = child(json, "certificates");
  if (certificates == nullptr || !certificates->is_array()) return;
  for (const Json& fingerprint : *certificates) {
    if (!fingerprint.is_string() || token.certificates.size() == most_certificates) continue;
    token.certificates.push_back(fingerprint.get_ref<const std::string&>().substr(0, 64));
  }
}

bool is_true(const Json& object, const char* key) {
  const Json* const found = child(object, key);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

// Of a systemd-fido2 token, or of the part that has its members.
bool wants_key_and_person(const Json& json) {
  return is_true(json, "fido2-up-required") &&
         (is_true(json, "fido2-clientPin-required") || is_true(json, "fido2-uv-required"));
}

// core/protect/all_of_token.h; who opens the volume reads it strictly.
void read_parts(const Json& json, Token& token) {
  constexpr std::size_t most_parts = 4;
  const Json* parts = child(json, "parts");
  if (parts == nullptr || !parts->is_array()) return;
  for (const Json& part : *parts) {
    if (!part.is_object() || token.parts.size() == most_parts) continue;
    token.parts.push_back(text_of(part, "kind"));
    if (token.parts.back() == "tpm") token.group = text_of(part, "group");
    if (token.parts.back() == "fido2") token.two_factors = wants_key_and_person(part);
  }
}

void read_tokens(const Json& root, LuksHeader& header) {
  for (const auto& [id, json] : numbered(root, "tokens")) {
    Token token{.id = id, .type = text_of(*json, "type")};
    if (const Json* slots = child(*json, "keyslots"); slots != nullptr && slots->is_array()) {
      for (const Json& slot : *slots) {
        if (!slot.is_string()) continue;
        if (const auto index = index_of(slot.get_ref<const std::string&>()))
          token.keyslots.push_back(*index);
      }
    }
    if (token.type == "volseal-tpm2") token.group = text_of(*json, "group");
    if (token.type == "systemd-fido2") token.two_factors = wants_key_and_person(*json);
    if (token.type == "volseal-all-of") read_parts(*json, token);
    if (token.type == "volseal-escrow") read_escrow(root, *json, token);
    header.tokens.push_back(std::move(token));
  }
}

void read_requirements(const Json& root, LuksHeader& header) {
  const Json* config = child(root, "config");
  const Json* requirements = config == nullptr ? nullptr : child(*config, "requirements");
  const Json* mandatory = requirements == nullptr ? nullptr : child(*requirements, "mandatory");
  if (mandatory == nullptr || !mandatory->is_array()) return;
  for (const Json& name : *mandatory) {
    if (name.is_string())
      header.requirements.push_back(name.get_ref<const std::string&>().substr(0, 256));
  }
}

// How far an encryption in place has come, from the segments that are in force.
void count_encrypted(LuksHeader& header, std::uint64_t device_size) {
  for (const LuksSegment& segment : header.segments) {
    const std::uint64_t rest = device_size > segment.offset ? device_size - segment.offset : 0;
    const std::uint64_t size = std::min(segment.size.value_or(rest), device_size);
    header.data_bytes += size;
    if (segment.type == "crypt" && !is_null_cipher(segment.cipher)) header.encrypted_bytes += size;
  }
}

// A volume key's digest names the segments that the key decrypts.
std::string key_digest_of(const Json& root) {
  Json digests = Json::array();
  for (const auto& [id, json] : numbered(root, "digests")) {
    const Json* segments = child(*json, "segments");
    if (segments == nullptr || !segments->is_array() || segments->empty()) continue;
    Json digest = *json;
    // Keyslots come and go; segments are looked at by themselves.
    digest.erase("keyslots");
    digest.erase("segments");
    digests.push_back(std::move(digest));
  }
  return digests.empty() ? "" : fingerprint(digests);
}

// The binary header, the JSON areas of both copies, and the area of the keyslots.
std::uint64_t bytes_of_header(const Json& root, std::uint64_t copy_size) {
  const Json* config = child(root, "config");
  const auto area = config == nullptr ? std::nullopt : decimal(text_of(*config, "keyslots_size"));
  constexpr std::uint64_t largest_area = 1ULL << 30U;
  return 2 * copy_size + std::min(area.value_or(0), largest_area);
}

// json-c, by which libcryptsetup reads it, goes no deeper; and what is deeper could not be walked
// through without a stack as deep.
bool is_too_deep(Buffer::const_iterator at, Buffer::const_iterator end) {
  constexpr int deepest = 32;
  int depth = 0;
  bool text = false;
  for (; at != end; ++at) {
    if (text) {
      if (*at == '\\' && at + 1 != end)
        ++at;
      else if (*at == '"')
        text = false;
      continue;
    }
    if (*at == '"') text = true;
    if (*at == '{' || *at == '[') ++depth;
    if (*at == '}' || *at == ']') --depth;
    if (depth > deepest) return true;
  }
  return false;
}

IdentifiedHeader parse_luks2(const Buffer& data, std::uint64_t device_size) {
  IdentifiedHeader identified;
  LuksHeader& header = identified.header;
  header.version = 2;
  header.label = text_at(data, 24, 48);
  header.uuid = text_at(data, 168, 40);
  header.subsystem = text_at(data, 208, 48);
  const auto begin = data.begin() + binary_size;
  const auto end = std::find(begin, data.end(), 0);
  if (is_too_deep(begin, end)) {
    header.damage = "its metadata is nested too deeply";
    return identified;
  }
  const Json root = Json::parse(begin, end, nullptr, false);
  if (root.is_discarded() || !root.is_object()) {
    header.damage = "its metadata is no JSON";
    return identified;
  }
  read_segments(root, header);
  read_keyslots(root, header);
  read_tokens(root, header);
  read_requirements(root, header);
  if (!header.reencryption.empty()) count_encrypted(header, device_size);
  identified.sequence = big_endian(data, 16, 8);
  identified.key_digest = key_digest_of(root);
  identified.keyslots_at = 2 * data.size();
  identified.bytes = bytes_of_header(root, data.size());
  for (const auto& [id, json] : numbered(root, "keyslots")) {
    if (text_of(*json, "type") != "reencrypt") identified.keyslots.emplace(id, fingerprint(*json));
  }
  for (const auto& [id, json] : numbered(root, "tokens")) {
    identified.tokens.emplace(id, fingerprint(*json));
  }
  return identified;
}

}  // namespace

bool is_null_cipher(std::string_view cipher) {
  return cipher.empty() || cipher == "null" || cipher.starts_with("null-") ||
         cipher.find("cipher_null") != std::string_view::npos;
}

std::optional<LuksHeader> parse_header(const ReadAt& read_at, std::uint64_t device_size) {
  auto identified = identify_header(read_at, device_size);
  return identified ? std::optional(std::move(identified->header)) : std::nullopt;
}

std::optional<IdentifiedHeader> identify_header(const ReadAt& read_at, std::uint64_t device_size) {
  const Buffer head = read_at(0, binary_size);
  const bool primary_magic = starts_with(head, magic_primary);
  if (primary_magic && head.size() >= 1024 && big_endian(head, 6, 2) == 1) return parse_luks1(head);

  // One good copy opens the volume; but the next damage would be the last, so it is reported.
  const Copy primary = read_copy(read_at, 0, magic_primary);
  if (primary.data) {
    IdentifiedHeader found = parse_luks2(*primary.data, device_size);
    const Copy second = read_copy(read_at, primary.data->size(), magic_secondary);
    if (!second.data && found.header.damage.empty()) {
      found.header.damage =
          "the secondary header copy is bad (" + second.damage + "), the primary is good";
    }
    return found;
  }
  for (std::uint64_t offset = smallest_header; offset <= largest_header; offset *= 2) {
    const Copy second = read_copy(read_at, offset, magic_secondary);
    if (!second.data) continue;
    IdentifiedHeader found = parse_luks2(*second.data, device_size);
    if (found.header.damage.empty()) {
      found.header.damage =
          "the primary header copy is bad (" + primary.damage + "), the secondary is good";
    }
    return found;
  }
  if (!primary_magic) return std::nullopt;
  IdentifiedHeader found;
  found.header.damage = "no header copy is good; of the primary, " + primary.damage;
  return found;
}

std::optional<LuksHeader> read_header(const Path& path) {
  auto identified = identify_header(path);
  return identified ? std::optional(std::move(identified->header)) : std::nullopt;
}

std::optional<IdentifiedHeader> identify_header(const Path& path) {
  const UniqueFd fd = open_file(path, O_RDONLY | O_NONBLOCK);
  const ReadAt read_at = [&](std::uint64_t offset, std::size_t size) {
    Buffer data(size);
    std::size_t done = 0;
    while (done < size) {
      const ssize_t got =
          ::pread(fd.get(), data.data() + done, size - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_errno(errno, "read the header of {}", path.native());
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    data.resize(done);
    return data;
  };
  return identify_header(read_at, size_of(fd.get(), path));
}

}  // namespace volseal
