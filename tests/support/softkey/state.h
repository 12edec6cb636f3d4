// What a security key keeps without power: its PIN's hash, the tries left, its credentials. In a
// file.
#pragma once

#include "core/base/file.h"
#include "tests/support/softkey/crypto.h"

#include <string>
#include <vector>

namespace volseal::test {

struct Credential {
  Bytes id;
  std::string rp;
  Bytes private_key;  // DER
  // CTAP 2.1 section 12.5: which of the two answers depends on whether the user was verified.
  Bytes random_with_uv;
  Bytes random_without_uv;
};

struct KeyState {
  static constexpr int all_tries = 8;

  Bytes pin_hash;  // pin_hash_of: the first 16 bytes of SHA-256; empty: no PIN was ever set
  int tries = all_tries;
  std::uint32_t counter = 0;
  std::vector<Credential> credentials;

  const Credential* find(std::string_view rp, const Bytes& id) const;
};

Bytes pin_hash_of(std::string_view pin);

// A new key where there is no such file.
KeyState load_key_state(const Path& file);
void save_key_state(const Path& file, const KeyState& state);

}  // namespace volseal::test
