#include "core/luks/volume.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/luks/argon2_turn.h"
#include "core/luks/header.h"

#include <libcryptsetup.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string_view>
#include <utility>

namespace volseal {

namespace {

using Json = nlohmann::json;

}  // namespace

// The last error that libcryptsetup logged: it says more than an errno.
struct Volume::Messages {
  std::string last;

  static void log(int level, const char* text, void* self) {
    if (level != CRYPT_LOG_ERROR || text == nullptr) return;
    std::string_view line(text);
    while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
    if (!line.empty() && line.back() == '.') line.remove_suffix(1);
    static_cast<Messages*>(self)->last = escaped(line);
  }
};

void Volume::Free::operator()(crypt_device* device) const {
  crypt_free(device);
}

Volume::Volume(Path path, crypt_device* device, std::unique_ptr<Messages> messages)
    : path_(std::move(path)), messages_(std::move(messages)), device_(device) {}
Volume::Volume(Volume&&) noexcept = default;
Volume& Volume::operator=(Volume&&) noexcept = default;
Volume::~Volume() = default;

void Volume::fail(int error, const std::string& doing) const {
  const std::string& said = messages_->last;
  const std::string what = doing + " " + path_.native() + (said.empty() ? "" : " (" + said + ")");
  // libcryptsetup says -EPERM for a passphrase that opens no keyslot.
  if (error == -EPERM) throw Error(Code::wrong_secret, "{}: no keyslot opens with it", what);
  if (error == -EEXIST) throw Error(Code::busy, "{}: the name is taken", what);
  throw_errno(error, "{}", what);
}

namespace {

// PBKDF2 at its minimum, and no benchmark: the volume-key digest is made with it too, and would
// cost 125 ms at every open otherwise.
const crypt_pbkdf_type minimal_pbkdf = {.type = CRYPT_KDF_PBKDF2,
                                        .hash = "sha512",
                                        .time_ms = 0,
                                        .iterations = 1000,
                                        .max_memory_kb = 0,
                                        .parallel_threads = 0,
                                        .flags = CRYPT_PBKDF_NO_BENCHMARK};

void set_stretch(crypt_device* device, Stretch stretch) {
  switch (stretch) {
    case Stretch::none: crypt_set_pbkdf_type(device, &minimal_pbkdf); return;
    case Stretch::argon2id:
      // Nothing: libcryptsetup's default for LUKS2, benchmarked to 2 s.
      crypt_set_pbkdf_type(device, nullptr);
      return;
  }
}

struct CipherParts {
  std::string cipher;
  std::string mode;
};

CipherParts split(const std::string& cipher) {
  const auto dash = cipher.find('-');
  if (dash == std::string::npos || is_null_cipher(cipher)) {
    throw Error(Code::usage, "use the cipher {}: it is no cipher and mode, such as aes-xts-plain64",
                cipher);
  }
  return {.cipher = cipher.substr(0, dash), .mode = cipher.substr(dash + 1)};
}

Json metadata_of(crypt_device* device, const Path& path) {
  const char* text = nullptr;
  if (crypt_dump_json(device, &text, 0) != 0 || text == nullptr) {
    throw Error(Code::damaged, "read the LUKS2 metadata of {}: libcryptsetup has none",
                path.native());
  }
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    throw Error(Code::damaged, "read the LUKS2 metadata of {}: it is no JSON", path.native());
  }
  return json;
}

bool has_backup_flag(const Json& segment) {
  const Json flags = segment.value("flags", Json::array());
  return std::ranges::any_of(flags, [](const Json& flag) {
    return flag.is_string() && flag.get_ref<const std::string&>().starts_with("backup-");
  });
}

Json requirements_of(const Json& metadata) {
  return metadata.value("/config/requirements/mandatory"_json_pointer, Json::array());
}

// The digest of the volume key: the one that a keyslot which can open verifies against.
Json volume_key_digest(const Json& metadata) {
  std::set<std::string> openers;
  for (const auto& [id, slot] : metadata.at("keyslots").items()) {
    if (slot.value("type", "") == "luks2") openers.insert(id);
  }
  for (const auto& [id, digest] : metadata.at("digests").items()) {
    const auto verifies = [&](const Json& slot) {
      return openers.contains(slot.get<std::string>());
    };
    if (std::ranges::any_of(digest.at("keyslots"), verifies)) {
      Json bound = digest;
      // Keyslots come and go; segments are bound by themselves.
      bound.erase("keyslots");
      bound.erase("segments");
      return bound;
    }
  }
  throw Error(Code::tampered, "bind the header: no keyslot belongs to a volume key");
}

}  // namespace

Volume Volume::load(const Path& path) {
  if (!std::filesystem::exists(path)) {
    throw Error(Code::not_found, "open {}: there is no such device or file", path.native());
  }
  Volume volume = open(path);
  const int r = crypt_load(volume.device_.get(), CRYPT_LUKS, nullptr);
  if (r == 0) return volume;
  // -EINVAL and -EIO stand for "no LUKS header", "a bad one" and "too short for one"; the header
  // reader tells them apart.
  const auto header = read_header(path);
  if (!header)
    throw Error(Code::not_luks, "load the LUKS header of {}: there is none", path.native());
  if (header->damage.empty()) volume.fail(r, "load the LUKS header of");
  throw Error(Code::damaged, "load the LUKS header of {}: {}", path.native(), header->damage);
}

// crypt_init, with what libcryptsetup logs kept for our own errors.
Volume Volume::open(const Path& path) {
  // What is logged before there is a device would go to standard error.
  crypt_set_log_callback(nullptr, [](int, const char*, void*) {}, nullptr);
  crypt_device* device = nullptr;
  if (const int r = crypt_init(&device, path.c_str()); r != 0)
    throw_errno(r, "open {}", path.native());
  auto messages = std::make_unique<Messages>();
  crypt_set_log_callback(device, Messages::log, messages.get());
  return {path, device, std::move(messages)};
}

void Volume::stretch_nothing() {
  set_stretch(device_.get(), Stretch::none);
}

Volume Volume::format(const Path& path, const FormatOptions& options) {
  const CipherParts parts = split(options.cipher);
  Volume volume = open(path);
  crypt_device* const device = volume.device_.get();

  set_stretch(device, Stretch::none);
  // 64 KiB of metadata a copy: room for a TPM token with eight approvals beside FIDO2 tokens.
  int r = crypt_set_metadata_size(device, 64U << 10U, 0);
  if (r == 0) r = crypt_set_data_offset(device, header_bytes / 512);
  if (r != 0) volume.fail(r, "lay out the LUKS header in");
  crypt_params_luks2 parameters{};
  parameters.pbkdf = &minimal_pbkdf;
  parameters.data_device = options.data_device.empty() ? nullptr : options.data_device.c_str();
  parameters.sector_size = options.sector_size;
  parameters.label = options.label.empty() ? nullptr : options.label.c_str();
  r = crypt_format(device, CRYPT_LUKS2, parts.cipher.c_str(), parts.mode.c_str(), nullptr, nullptr,
                   static_cast<std::size_t>(options.key_bits) / 8, &parameters);
  if (r != 0) volume.fail(r, "make a LUKS2 header in");
  return volume;
}

std::string Volume::uuid() const {
  return crypt_get_uuid(device_.get());
}

int Volume::version() const {
  return std::string_view(crypt_get_type(device_.get())) == CRYPT_LUKS1 ? 1 : 2;
}

std::uint64_t Volume::data_offset() const {
  return crypt_get_data_offset(device_.get()) * 512;
}

std::vector<int> Volume::keyslots() const {
  std::vector<int> slots;
  for (int slot = 0; slot < crypt_keyslot_max(crypt_get_type(device_.get())); ++slot) {
    const crypt_keyslot_info info = crypt_keyslot_status(device_.get(), slot);
    if (info == CRYPT_SLOT_ACTIVE || info == CRYPT_SLOT_ACTIVE_LAST) slots.push_back(slot);
  }
  return slots;
}

int Volume::add_first_keyslot(const Secret& passphrase, Stretch stretch) {
  set_stretch(device_.get(), stretch);
  const Argon2Turn turn;
  const int slot = crypt_keyslot_add_by_volume_key(device_.get(), CRYPT_ANY_SLOT, nullptr, 0,
                                                   passphrase.chars(), passphrase.size());
  if (slot < 0) fail(slot, "add the first keyslot to");
  return slot;
}

int Volume::add_keyslot(const Secret& existing, const Secret& added, Stretch stretch) {
  set_stretch(device_.get(), stretch);
  const Argon2Turn turn;
  const int slot = crypt_keyslot_add_by_passphrase(device_.get(), CRYPT_ANY_SLOT, existing.chars(),
                                                   existing.size(), added.chars(), added.size());
  if (slot < 0) fail(slot, "add a keyslot to");
  return slot;
}

void Volume::remove_keyslot(int slot) {
  if (const int r = crypt_keyslot_destroy(device_.get(), slot); r != 0) {
    fail(r, "remove keyslot " + std::to_string(slot) + " of");
  }
}

std::optional<int> Volume::opens_with(const Secret& passphrase, std::optional<int> slot) const {
  messages_->last.clear();
  const int r = crypt_activate_by_passphrase(device_.get(), nullptr, slot.value_or(CRYPT_ANY_SLOT),
                                             passphrase.chars(), passphrase.size(),
                                             CRYPT_ACTIVATE_SERIALIZE_MEMORY_HARD_PBKDF);
  if (r >= 0) return r;
  // -ENOENT: that keyslot is empty.
  if (r == -EPERM || r == -ENOENT) return std::nullopt;
  fail(r, "try a passphrase on");
}

std::string Volume::keyslot_salt(int slot) const {
  const Json metadata = metadata_of(device_.get(), path_);
  const Json salt =
      metadata.value(Json::json_pointer("/keyslots/" + std::to_string(slot) + "/kdf/salt"), Json());
  if (!salt.is_string()) {
    throw Error(Code::not_found, "look at keyslot {} of {}: there is none, or it has no salt", slot,
                path_.native());
  }
  return salt.get<std::string>();
}

std::vector<VolumeToken> Volume::tokens() const {
  std::vector<VolumeToken> tokens;
  if (version() != 2) return tokens;
  for (int id = 0; id < crypt_token_max(CRYPT_LUKS2); ++id) {
    const char* type = nullptr;
    if (crypt_token_status(device_.get(), id, &type) == CRYPT_TOKEN_INACTIVE) continue;
    const char* json = nullptr;
    if (crypt_token_json_get(device_.get(), id, &json) < 0 || json == nullptr) continue;
    tokens.push_back({.id = id, .type = type == nullptr ? "" : type, .json = json});
  }
  return tokens;
}

int Volume::set_token(const std::string& json, std::optional<int> id) {
  const int r = crypt_token_json_set(device_.get(), id.value_or(CRYPT_ANY_TOKEN), json.c_str());
  if (r < 0) fail(r, "write a token into");
  return r;
}

void Volume::remove_token(int id) {
  // Without JSON, crypt_token_json_set removes.
  if (const int r = crypt_token_json_set(device_.get(), id, nullptr); r < 0) {
    fail(r, "remove token " + std::to_string(id) + " of");
  }
}

std::string Volume::binding_text(const std::string& scope) const {
  const Json metadata = metadata_of(device_.get(), path_);
  try {
    Json bound = {{"scope", scope}, {"uuid", uuid()}, {"digest", volume_key_digest(metadata)}};
    if (scope == "full") {
      bound["segments"] = metadata.at("segments");
      bound["requirements"] = requirements_of(metadata);
      return bound.dump();
    }
    // While we encrypt in place, segments move; every one that encrypts must do it the same way.
    for (const auto& [id, segment] : metadata.at("segments").items()) {
      if (segment.at("type") != "crypt") continue;
      const Json how = {{"encryption", segment.at("encryption")},
                        {"sector_size", segment.at("sector_size")},
                        {"integrity", segment.value("integrity", Json())}};
      if (bound.contains("how") && bound["how"] != how) {
        throw Error(Code::tampered, "bind the header of {}: its segments have different ciphers",
                    path_.native());
      }
      bound["how"] = how;
    }
    return bound.dump();
  } catch (const Json::exception&) {
    throw Error(Code::damaged, "bind the header of {}: its metadata lacks what LUKS2 demands",
                path_.native());
  }
}

void Volume::copy_header(const Path& file) const {
  if (const int r = crypt_header_backup(device_.get(), nullptr, file.c_str()); r != 0) {
    fail(r, "copy to " + file.native() + " the header of");
  }
}

void Volume::refuse_unsafe() const {
  if (version() == 1) {
    if (is_null_cipher(crypt_get_cipher(device_.get()))) {
      throw Error(Code::tampered, "open {}: its cipher is null, nothing on it is encrypted",
                  path_.native());
    }
    return;
  }
  const Json metadata = metadata_of(device_.get(), path_);
  try {
    bool encrypting = false;
    for (const Json& requirement : requirements_of(metadata)) {
      const auto name = requirement.get<std::string>();
      if (!name.starts_with("online-reencrypt")) {
        throw Error(Code::tampered, "open {}: it requires '{}', which volseal never sets",
                    path_.native(), escaped(name));
      }
      encrypting = true;
    }
    for (const auto& [id, segment] : metadata.at("segments").items()) {
      const bool crypt = segment.at("type") == "crypt";
      if (crypt && is_null_cipher(segment.at("encryption").get<std::string>())) {
        throw Error(Code::tampered,
                    "open {}: the cipher of segment {} is null, nothing there is encrypted",
                    path_.native(), escaped(id));
      }
      if (!crypt && !encrypting && !has_backup_flag(segment)) {
        throw Error(Code::tampered,
                    "open {}: segment {} is not encrypted, and no encryption is under way",
                    path_.native(), escaped(id));
      }
    }
  } catch (const Json::exception&) {
    throw Error(Code::damaged, "open {}: its metadata lacks what LUKS2 demands", path_.native());
  }
}

int Volume::activate(const std::string& name, const Secret& passphrase,
                     const ActivateOptions& options, std::optional<int> slot) {
  std::uint32_t flags = CRYPT_ACTIVATE_SERIALIZE_MEMORY_HARD_PBKDF;
  if (options.read_only) flags |= CRYPT_ACTIVATE_READONLY;
  if (options.discard) flags |= CRYPT_ACTIVATE_ALLOW_DISCARDS;
  if (options.no_read_workqueue) flags |= CRYPT_ACTIVATE_NO_READ_WORKQUEUE;
  if (options.no_write_workqueue) flags |= CRYPT_ACTIVATE_NO_WRITE_WORKQUEUE;
  messages_->last.clear();
  const int r =
      crypt_activate_by_passphrase(device_.get(), name.c_str(), slot.value_or(CRYPT_ANY_SLOT),
                                   passphrase.chars(), passphrase.size(), flags);
  if (r < 0) fail(r, "map to /dev/mapper/" + name + " the volume");
  return r;
}

void widen_mapping(const std::string& name, const Path& device, const Secret& passphrase) {
  const Volume volume = Volume::load(device);
  crypt_device* const raw = volume.device_.get();
  // The kernel takes the key from the keyring of who asks.
  int r = crypt_activate_by_passphrase(raw, nullptr, CRYPT_ANY_SLOT, passphrase.chars(),
                                       passphrase.size(), CRYPT_ACTIVATE_KEYRING_KEY);
  if (r >= 0) r = crypt_resize(raw, name.c_str(), 0);
  if (r < 0) volume.fail(r, "widen /dev/mapper/" + name + " to all of");
}

void deactivate(const std::string& name) {
  if (const int r = crypt_deactivate(nullptr, name.c_str()); r != 0) {
    throw_errno(r, "unmap /dev/mapper/{}", name);
  }
}

bool is_mapping_of(const std::string& name, const std::string& uuid) {
  // That there is none is an answer, not a line on standard error.
  crypt_set_log_callback(nullptr, [](int, const char*, void*) {}, nullptr);
  crypt_device* raw = nullptr;
  if (crypt_init_by_name(&raw, name.c_str()) != 0) return false;
  const Handle<crypt_device, crypt_free> device(raw);
  const char* found = crypt_get_uuid(device.get());
  return found != nullptr && uuid == found;
}

}  // namespace volseal
