// authenticatorClientPIN, section 6.5.
#include "tests/support/softkey/authenticator.h"

#include <algorithm>

namespace volseal::test {

using cbor::Map;
using cbor::value;
using cbor::Value;

namespace {

constexpr std::size_t padded_pin = 64;
constexpr std::size_t hash_size = 16;
constexpr std::size_t shortest_pin = 4;
constexpr int most_wrong_in_a_row = 3;

constexpr int get_retries = 0x01;
constexpr int get_key_agreement = 0x02;
constexpr int set_pin_command = 0x03;
constexpr int change_pin_command = 0x04;
constexpr int get_pin_token = 0x05;
constexpr int get_token_by_uv = 0x06;
constexpr int get_uv_retries = 0x07;
constexpr int get_token_by_pin = 0x09;

constexpr int make_and_assert = 0x03;

const Value& need(const Map& in, int key) {
  const Value* const found = in.at(key);
  if (found == nullptr) throw Refused{Ctap::missing_parameter};
  return *found;
}

Bytes joined(const Bytes& first, const Bytes& second) {
  Bytes both = first;
  both.insert(both.end(), second.begin(), second.end());
  return both;
}

}  // namespace

int Authenticator::protocol_of(const Map& in, int key) const {
  const auto protocol = static_cast<int>(need(in, key).number());
  if (std::ranges::find(model_.pin_protocols, protocol) == model_.pin_protocols.end())
    throw Refused{Ctap::invalid_parameter};
  return protocol;
}

SharedSecret Authenticator::shared_secret(const Map& in, int protocol) const {
  const auto z = agreement_.agree(need(in, 3).map());
  if (!z) throw Refused{Ctap::invalid_parameter};
  return SharedSecret::from(protocol, *z);
}

Map Authenticator::client_pin(const Map& in) {
  Map out;
  switch (need(in, 2).number()) {
    case get_retries:
      out.add(value(3), value(state_.tries));
      out.add(value(4), value(wrong_in_a_row_ >= most_wrong_in_a_row));
      return out;
    case get_key_agreement:
      static_cast<void>(protocol_of(in, 1));
      out.add(value(1), value(agreement_.cose(-25)));
      return out;
    case set_pin_command: set_pin(in); return out;
    case change_pin_command: change_pin(in); return out;
    case get_pin_token: return issue_token(in, false, false);
    case get_token_by_uv: return issue_token(in, true, true);
    case get_uv_retries: out.add(value(5), value(finger_tries_)); return out;
    case get_token_by_pin: return issue_token(in, true, false);
    default: throw Refused{Ctap::invalid_parameter};
  }
}

void Authenticator::store_pin(const SharedSecret& shared, const Bytes& encrypted) {
  const auto padded = shared.decrypt(encrypted);
  if (!padded || padded->size() != padded_pin) throw Refused{Ctap::invalid_parameter};
  const auto end = std::ranges::find(*padded, 0);
  const Bytes pin(padded->begin(), end);
  if (pin.size() < shortest_pin || pin.size() == padded_pin)
    throw Refused{Ctap::pin_policy_violation};
  state_.pin_hash = sha256(pin);
  state_.pin_hash.resize(hash_size);
  state_.tries = KeyState::all_tries;
  wrong_in_a_row_ = 0;
  token_ = {};
  save();
}

void Authenticator::set_pin(const Map& in) {
  const SharedSecret shared = shared_secret(in, protocol_of(in, 1));
  if (!state_.pin_hash.empty()) throw Refused{Ctap::pin_auth_invalid};
  const Bytes& encrypted = need(in, 5).bytes();
  if (!shared.verify(encrypted, need(in, 4).bytes())) throw Refused{Ctap::pin_auth_invalid};
  store_pin(shared, encrypted);
}

void Authenticator::change_pin(const Map& in) {
  const SharedSecret shared = shared_secret(in, protocol_of(in, 1));
  const Bytes& encrypted = need(in, 5).bytes();
  const Bytes& hash = need(in, 6).bytes();
  if (state_.tries == 0) throw Refused{Ctap::pin_blocked};
  if (!shared.verify(joined(encrypted, hash), need(in, 4).bytes()))
    throw Refused{Ctap::pin_auth_invalid};
  check_pin(shared, hash);
  store_pin(shared, encrypted);
}

// Section 6.5.5.7.1, steps 6 to 12.
void Authenticator::check_pin(const SharedSecret& shared, const Bytes& encrypted_hash) {
  if (state_.pin_hash.empty()) throw Refused{Ctap::pin_not_set};
  if (state_.tries == 0) throw Refused{Ctap::pin_blocked};
  if (wrong_in_a_row_ >= most_wrong_in_a_row) throw Refused{Ctap::pin_auth_blocked};
  // Counted before it is compared: pulling the plug in time must not give a try back.
  --state_.tries;
  save();
  const auto hash = shared.decrypt(encrypted_hash);
  if (!hash || *hash != state_.pin_hash) {
    agreement_ = P256Key::generate();
    ++wrong_in_a_row_;
    if (state_.tries == 0) throw Refused{Ctap::pin_blocked};
    if (wrong_in_a_row_ >= most_wrong_in_a_row) throw Refused{Ctap::pin_auth_blocked};
    throw Refused{Ctap::pin_invalid};
  }
  state_.tries = KeyState::all_tries;
  wrong_in_a_row_ = 0;
  save();
}

Map Authenticator::issue_token(const Map& in, bool with_permissions, bool by_finger) {
  if (with_permissions && !model_.ctap21) throw Refused{Ctap::invalid_parameter};
  const int protocol = protocol_of(in, 1);
  const SharedSecret shared = shared_secret(in, protocol);
  PinToken token{.protocol = protocol,
                 .token = random_bytes(32),
                 .permissions = make_and_assert,
                 .rp = std::nullopt};
  if (with_permissions) {
    token.permissions = static_cast<int>(need(in, 9).number());
    if (token.permissions == 0) throw Refused{Ctap::invalid_parameter};
    if ((token.permissions & ~make_and_assert) != 0) throw Refused{Ctap::unauthorized_permission};
    token.rp = need(in, 10).text();
  } else if (in.at(9) != nullptr || in.at(10) != nullptr) {
    throw Refused{Ctap::invalid_parameter};
  }
  if (by_finger) {
    if (!model_.finger_reader) throw Refused{Ctap::not_allowed};
    verify_by_finger();
  } else {
    check_pin(shared, need(in, 6).bytes());
  }
  token_ = std::move(token);
  Map out;
  out.add(value(2), value(shared.encrypt(token_.token)));
  return out;
}

}  // namespace volseal::test
