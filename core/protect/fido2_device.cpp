#include "core/protect/fido2_device.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/handle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>

namespace volseal::fido2 {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t most_keys = 64;
constexpr milliseconds to_answer{3000};
// Longer than any key waits for a touch (30 s, CTAP 2.1 section 6.1.2); then it is dead.
constexpr milliseconds to_be_touched{60000};

// libfido2 frees through a pointer to the pointer.
template <typename T, void (*Release)(T**)>
struct Releaser {
  void operator()(T* object) const { Release(&object); }
};
using Assertion = std::unique_ptr<fido_assert_t, Releaser<fido_assert_t, fido_assert_free>>;
using NewCredential = std::unique_ptr<fido_cred_t, Releaser<fido_cred_t, fido_cred_free>>;
using Info = std::unique_ptr<fido_cbor_info_t, Releaser<fido_cbor_info_t, fido_cbor_info_free>>;

// Nobody else signs or checks with these credentials, so there is nothing to bind (interop.md).
constexpr std::array<unsigned char, 32> client_data_hash{};

void check(int status, const char* doing) {
  if (status != FIDO_OK)
    throw Error(Code::internal, "{}: libfido2 says {}", doing, fido_strerr(status));
}

template <typename T>
T made(T object) {
  if (!object) throw Error(Code::internal, "talk to a FIDO2 key: there is no memory");
  return object;
}

struct Found {
  std::string path;
  std::string name;
};

// The names come from the device.
std::string name_of(const fido_dev_info_t* info) {
  const auto text = [](const char* from) { return std::string(from == nullptr ? "" : from); };
  std::string name = text(fido_dev_info_manufacturer_string(info));
  const std::string product = text(fido_dev_info_product_string(info));
  if (!name.empty() && !product.empty()) name += ' ';
  return escaped((name + product).substr(0, 64));
}

std::vector<Found> find() {
  // Of each thread. Without its fallback to U2F, which knows neither PIN nor hmac-secret.
  fido_init(FIDO_DISABLE_U2F_FALLBACK);
  fido_dev_info_t* list = made(fido_dev_info_new(most_keys));
  const Finally release([&] { fido_dev_info_free(&list, most_keys); });
  std::size_t count = 0;
  // FIDO_ERR_INTERNAL is also what it says of a system without udev's database or any HID device.
  if (fido_dev_info_manifest(list, most_keys, &count) != FIDO_OK) return {};
  std::vector<Found> found;
  for (std::size_t i = 0; i < count; ++i) {
    const fido_dev_info_t* const info = fido_dev_info_ptr(list, i);
    found.push_back({.path = fido_dev_info_path(info), .name = name_of(info)});
    if (found.back().name.empty()) found.back().name = found.back().path;
  }
  return found;
}

bool has_text(char** list, std::size_t size, std::string_view wanted) {
  return std::any_of(list, list + size, [&](const char* text) { return text == wanted; });
}

}  // namespace

Pin::Pin(const Secret& typed) : text_(typed.size() + 1) {
  std::ranges::copy(typed.bytes(), text_.bytes().begin());
}

void Device::Close::operator()(fido_dev_t* device) const {
  fido_dev_close(device);
  fido_dev_free(&device);
}

std::vector<std::string> Device::paths() {
  std::vector<std::string> paths;
  for (Found& found : find()) paths.push_back(std::move(found.path));
  return paths;
}

std::vector<Device> Device::all() {
  std::vector<Device> devices;
  for (Found& found : find()) {
    Device device;
    device.key_.path = std::move(found.path);
    device.key_.name = std::move(found.name);
    device.device_.reset(made(fido_dev_new()));
    device.learn();
    devices.push_back(std::move(device));
  }
  return devices;
}

bool Device::is_there() const {
  const auto there = paths();
  return std::ranges::find(there, key_.path) != there.end();
}

void Device::learn() {
  fido_dev_t* const device = device_.get();
  fido_dev_set_timeout(device, static_cast<int>(to_answer.count()));
  if (const int status = fido_dev_open(device, key_.path.c_str()); status != FIDO_OK) {
    key_.problem = fmt::format("it cannot be opened: {}", fido_strerr(status));
    return;
  }
  if (!fido_dev_is_fido2(device)) {
    key_.problem = "it is a U2F key, which knows no hmac-secret";
    return;
  }
  const Info info(made(fido_cbor_info_new()));
  if (const int status = fido_dev_get_cbor_info(device, info.get()); status != FIDO_OK) {
    key_.problem = fmt::format("it does not say what it can: {}", fido_strerr(status));
    return;
  }
  learn_options(info.get());
  if (!has_text(fido_cbor_info_extensions_ptr(info.get()),
                fido_cbor_info_extensions_len(info.get()), "hmac-secret")) {
    key_.problem = "it knows no hmac-secret";
    return;
  }
  key_.usable = true;
  fido_dev_set_timeout(device, static_cast<int>(to_be_touched.count()));
}

void Device::learn_options(const fido_cbor_info_t* info) {
  key_.pin_set = fido_dev_has_pin(device_.get());
  key_.verifies = fido_dev_has_uv(device_.get());
  char** const versions = fido_cbor_info_versions_ptr(info);
  const std::size_t count = fido_cbor_info_versions_len(info);
  key_.binds_pin =
      has_text(versions, count, "FIDO_2_1") || has_text(versions, count, "FIDO_2_1_PRE");
  char** const names = fido_cbor_info_options_name_ptr(info);
  const bool* const values = fido_cbor_info_options_value_ptr(info);
  for (std::size_t i = 0; i < fido_cbor_info_options_len(info); ++i) {
    if (std::string_view(names[i]) == "up") knows_up_ = values[i];
  }
}

Made Device::make(const Fido2Token& plan, const std::string& user, const std::string& label,
                  const char* pin, bool uv) const {
  const NewCredential credential(made(fido_cred_new()));
  fido_cred_t* const cred = credential.get();
  const auto* const id = reinterpret_cast<const unsigned char*>(user.data());
  check(fido_cred_set_type(cred, COSE_ES256), "choose ES256");
  check(fido_cred_set_extensions(cred, FIDO_EXT_HMAC_SECRET), "ask for hmac-secret");
  check(fido_cred_set_rp(cred, plan.rp.c_str(), "Encrypted Volume"), "name the relying party");
  check(fido_cred_set_user(cred, id, user.size(), label.c_str(), label.c_str(), nullptr),
        "name the volume");
  check(fido_cred_set_clientdata_hash(cred, client_data_hash.data(), client_data_hash.size()),
        "set the client data");
  check(fido_cred_set_rk(cred, FIDO_OPT_OMIT), "ask for no resident key");
  check(fido_cred_set_uv(cred, uv ? FIDO_OPT_TRUE : FIDO_OPT_OMIT), "ask for verification");
  const int status = fido_dev_make_cred(device_.get(), cred, pin);
  if (status != FIDO_OK) return {.status = status, .credential = {}};
  const unsigned char* const made_id = fido_cred_id_ptr(cred);
  return {.status = status, .credential = Bytes(made_id, made_id + fido_cred_id_len(cred))};
}

Asserted Device::ask(const Ask& ask) const {
  const Assertion assertion(made(fido_assert_new()));
  fido_assert_t* const assert = assertion.get();
  const Fido2Token& token = ask.token;
  check(fido_assert_set_rp(assert, token.rp.c_str()), "name the relying party");
  check(fido_assert_set_clientdata_hash(assert, client_data_hash.data(), client_data_hash.size()),
        "set the client data");
  check(fido_assert_allow_cred(assert, token.credential.data(), token.credential.size()),
        "name the credential");
  if (ask.secret) {
    check(fido_assert_set_extensions(assert, FIDO_EXT_HMAC_SECRET), "ask for hmac-secret");
    check(fido_assert_set_hmac_salt(assert, token.salt.data(), token.salt.size()), "give the salt");
  }
  const fido_opt_t up = ask.touch ? FIDO_OPT_TRUE : FIDO_OPT_FALSE;
  check(fido_assert_set_up(assert, knows_up_ ? up : FIDO_OPT_OMIT), "ask for a touch");
  check(fido_assert_set_uv(assert, ask.uv ? FIDO_OPT_TRUE : FIDO_OPT_OMIT), "ask for verification");
  const int status = fido_dev_get_assert(device_.get(), assert, ask.pin);
  if (status != FIDO_OK || !ask.secret) return {.status = status, .secret = {}};
  const std::size_t size = fido_assert_hmac_secret_len(assert, 0);
  // fido_assert_free() wipes its copy.
  const unsigned char* const secret = fido_assert_hmac_secret_ptr(assert, 0);
  if (secret == nullptr || size != 32)
    return {.status = FIDO_ERR_UNSUPPORTED_EXTENSION, .secret = {}};
  return {.status = status, .secret = Secret::copy_of(std::span(secret, size))};
}

std::optional<int> Device::tries_left() const {
  int tries = 0;
  if (fido_dev_get_retry_count(device_.get(), &tries) != FIDO_OK) return std::nullopt;
  return tries;
}

}  // namespace volseal::fido2
