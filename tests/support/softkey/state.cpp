#include "tests/support/softkey/state.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace volseal::test {

using Json = nlohmann::json;

namespace {

Bytes bytes_of(const Json& json, const char* name) {
  return from_base64(json.at(name).get<std::string>()).value();
}

}  // namespace

const Credential* KeyState::find(std::string_view rp, const Bytes& id) const {
  const auto found = std::ranges::find_if(credentials, [&](const Credential& credential) {
    return credential.rp == rp && credential.id == id;
  });
  return found == credentials.end() ? nullptr : &*found;
}

Bytes pin_hash_of(std::string_view pin) {
  Bytes hash = sha256({reinterpret_cast<const std::uint8_t*>(pin.data()), pin.size()});
  hash.resize(16);
  return hash;
}

KeyState load_key_state(const Path& file) {
  const auto text = read_file_if_any(file);
  if (!text) return {};
  const Json json = Json::parse(*text);
  KeyState state{.pin_hash = bytes_of(json, "pin_hash"),
                 .tries = json.at("tries"),
                 .counter = json.at("counter"),
                 .credentials = {}};
  for (const Json& credential : json.at("credentials")) {
    state.credentials.push_back({.id = bytes_of(credential, "id"),
                                 .rp = credential.at("rp"),
                                 .private_key = bytes_of(credential, "private_key"),
                                 .random_with_uv = bytes_of(credential, "random_with_uv"),
                                 .random_without_uv = bytes_of(credential, "random_without_uv")});
  }
  return state;
}

void save_key_state(const Path& file, const KeyState& state) {
  Json credentials = Json::array();
  for (const Credential& credential : state.credentials) {
    credentials.push_back({{"id", to_base64(credential.id)},
                           {"rp", credential.rp},
                           {"private_key", to_base64(credential.private_key)},
                           {"random_with_uv", to_base64(credential.random_with_uv)},
                           {"random_without_uv", to_base64(credential.random_without_uv)}});
  }
  const Json json = {{"pin_hash", to_base64(state.pin_hash)},
                     {"tries", state.tries},
                     {"counter", state.counter},
                     {"credentials", credentials}};
  write_file(file, json.dump(1) + "\n");
}

}  // namespace volseal::test
