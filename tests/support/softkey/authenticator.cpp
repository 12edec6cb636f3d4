#include "tests/support/softkey/authenticator.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace volseal::test {

using cbor::Map;
using cbor::value;
using cbor::Value;

namespace {

constexpr int es256 = -7;
constexpr int user_present = 0x01;
constexpr int user_verified = 0x04;
constexpr int attested_data = 0x40;
constexpr int extension_data = 0x80;

constexpr int may_make = 0x01;  // section 6.5.5.7: permissions
constexpr int may_assert = 0x02;

const Bytes aaguid = {'v', 'o', 'l', 's', 'e', 'a', 'l', '-', 's', 'o', 'f', 't', 'k', 'e', 'y', 0};

const Value& need(const Map& in, int key) {
  const Value* const found = in.at(key);
  if (found == nullptr) throw Refused{Ctap::missing_parameter};
  return *found;
}

const Value& need(const Map& in, const char* key) {
  const Value* const found = in.at(key);
  if (found == nullptr) throw Refused{Ctap::missing_parameter};
  return *found;
}

const Map* extension(const Map& in, int key) {
  const Value* const found = in.at(key);
  return found == nullptr ? nullptr : &found->map();
}

bool wants_es256(const Map& in) {
  const auto& list = need(in, 4).list();
  return std::ranges::any_of(list, [](const Value& entry) {
    return need(entry.map(), "alg").number() == es256 &&
           need(entry.map(), "type").text() == "public-key";
  });
}

void append(Bytes& to, View more) {
  to.insert(to.end(), more.begin(), more.end());
}

Map descriptor(const Bytes& id) {
  Map map;
  map.add(value("id"), value(id)).add(value("type"), value("public-key"));
  return map;
}

}  // namespace

Authenticator::Authenticator(KeyModel model, Path state_file, Person& person)
    : model_(std::move(model)),
      file_(std::move(state_file)),
      person_(person),
      state_(load_key_state(file_)) {}

void Authenticator::power_cycle() {
  agreement_ = P256Key::generate();
  token_ = {};
  wrong_in_a_row_ = 0;
}

Bytes Authenticator::process(View command) {
  Bytes answer = {static_cast<std::uint8_t>(Ctap::ok)};
  try {
    if (command.empty()) throw Refused{Ctap::invalid_length};
    const auto decoded = command.size() == 1 ? Value{Map{}} : cbor::decode(command.subspan(1));
    if (!decoded) throw Refused{Ctap::invalid_cbor};
    const Map& in = decoded->map();
    Map out;
    switch (command.front()) {
      case 0x01: out = make_credential(in); break;
      case 0x02: out = get_assertion(in); break;
      case 0x04: out = get_info(); break;
      case 0x06: out = client_pin(in); break;
      case 0x07: out = reset(); break;
      case 0x08: throw Refused{Ctap::not_allowed};  // getNextAssertion: there never is a next one
      case 0x0b: wait_for_touch(); break;           // selection
      default: throw Refused{Ctap::invalid_command};
    }
    if (!out.keys.empty()) append(answer, cbor::encode(value(std::move(out))));
  } catch (const Refused& refused) {
    return {static_cast<std::uint8_t>(refused.status)};
  } catch (const std::bad_variant_access&) {
    return {static_cast<std::uint8_t>(Ctap::unexpected_type)};
  }
  return answer;
}

Map Authenticator::get_info() const {
  cbor::List versions = {value("FIDO_2_0")};
  if (model_.ctap21) versions.push_back(value("FIDO_2_1"));
  cbor::List extensions;
  if (model_.hmac_secret) extensions.push_back(value("hmac-secret"));
  Map options;
  options.add(value("rk"), value(false)).add(value("up"), value(true));
  if (model_.finger_reader) options.add(value("uv"), value(true));
  options.add(value("clientPin"), value(!state_.pin_hash.empty()));
  if (model_.ctap21) {
    options.add(value("pinUvAuthToken"), value(true));
    if (model_.makes_without_pin) options.add(value("makeCredUvNotRqd"), value(true));
  }
  cbor::List protocols;
  for (const int protocol : model_.pin_protocols) protocols.push_back(value(protocol));
  Map out;
  out.add(value(1), value(std::move(versions))).add(value(2), value(std::move(extensions)));
  out.add(value(3), value(aaguid)).add(value(4), value(std::move(options)));
  out.add(value(5), value(1200)).add(value(6), value(std::move(protocols)));
  out.add(value(7), value(8)).add(value(8), value(128));
  return out;
}

bool Authenticator::option(const Map& in, int options, const char* name, bool otherwise) const {
  const Map* const given = extension(in, options);
  const Value* const found = given == nullptr ? nullptr : given->at(name);
  return found == nullptr ? otherwise : found->boolean();
}

void Authenticator::wait_for_touch() {
  switch (person_.touch()) {
    case Touch::given: return;
    case Touch::timed_out: throw Refused{Ctap::user_action_timeout};
    case Touch::cancelled: throw Refused{Ctap::keepalive_cancel};
  }
}

bool Authenticator::verify_by_finger() {
  if (finger_tries_ == 0) throw Refused{Ctap::uv_blocked};
  if (person_.known_finger()) {
    finger_tries_ = 3;
    return true;
  }
  throw Refused{--finger_tries_ == 0 ? Ctap::uv_blocked : Ctap::uv_invalid};
}

// Sections 6.1.2 and 6.2.2, steps 1 to 6.
bool Authenticator::verified_user(const Request& request) {
  const Value* const auth = request.map.at(request.auth);
  if (auth != nullptr && auth->bytes().empty()) {
    // How a platform asks "is it you?" of several keys.
    wait_for_touch();
    throw Refused{state_.pin_hash.empty() ? Ctap::pin_not_set : Ctap::pin_invalid};
  }
  const bool uv = option(request.map, request.options, "uv", false);
  if (auth == nullptr) {
    if (!uv) return false;
    if (!model_.finger_reader) throw Refused{Ctap::invalid_option};
    return verify_by_finger();
  }
  const int protocol = protocol_of(request.map, request.protocol);
  if (protocol != token_.protocol || token_.token.empty() ||
      !verify(protocol, token_.token, request.client_data_hash, auth->bytes()) ||
      (token_.permissions & request.permission) == 0 || (token_.rp && *token_.rp != request.rp)) {
    throw Refused{Ctap::pin_auth_invalid};
  }
  token_.rp = request.rp;
  return true;
}

// Whether the list under `key` names a credential of this key; `found` is the first one.
bool Authenticator::known_list(const Map& in, int key, std::string_view rp,
                               const Credential*& found) const {
  const Value* const list = in.at(key);
  if (list == nullptr) return false;
  for (const Value& entry : list->list()) {
    found = state_.find(rp, need(entry.map(), "id").bytes());
    if (found != nullptr) return true;
  }
  return false;
}

Bytes Authenticator::head_of_auth_data(std::string_view rp, int flags) {
  ++state_.counter;
  Bytes data = sha256({reinterpret_cast<const std::uint8_t*>(rp.data()), rp.size()});
  data.push_back(static_cast<std::uint8_t>(flags));
  for (const unsigned shift : {24U, 16U, 8U, 0U})
    data.push_back(static_cast<std::uint8_t>(state_.counter >> shift));
  return data;
}

Map Authenticator::make_credential(const Map& in) {
  const Request request{.map = in,
                        .rp = need(need(in, 2).map(), "id").text(),
                        .client_data_hash = need(in, 1).bytes(),
                        .permission = may_make,
                        .options = 7,
                        .auth = 8,
                        .protocol = 9};
  static_cast<void>(need(need(in, 3).map(), "id").bytes());
  if (!wants_es256(in)) throw Refused{Ctap::unsupported_algorithm};
  if (option(in, 7, "rk", false)) throw Refused{Ctap::unsupported_option};
  if (!option(in, 7, "up", true)) throw Refused{Ctap::invalid_option};
  const bool verified = verified_user(request);
  // Section 6.1.2, step 6.
  if (!verified && !model_.makes_without_pin && !state_.pin_hash.empty())
    throw Refused{Ctap::pin_required};
  wait_for_touch();
  const Credential* known = nullptr;
  if (known_list(in, 5, request.rp, known)) throw Refused{Ctap::credential_excluded};
  token_.permissions = 0;

  const P256Key key = P256Key::generate();
  Credential credential{.id = random_bytes(48),
                        .rp = request.rp,
                        .private_key = key.to_der(),
                        .random_with_uv = random_bytes(32),
                        .random_without_uv = random_bytes(32)};
  if (!model_.ctap21) credential.random_without_uv = credential.random_with_uv;
  const Map* const extensions = extension(in, 6);
  const Value* const wanted = extensions == nullptr ? nullptr : extensions->at("hmac-secret");
  const bool hmac = model_.hmac_secret && wanted != nullptr && wanted->boolean();

  Bytes data = head_of_auth_data(request.rp, user_present | (verified ? user_verified : 0) |
                                                 attested_data | (hmac ? extension_data : 0));
  append(data, aaguid);
  data.push_back(0);
  data.push_back(static_cast<std::uint8_t>(credential.id.size()));
  append(data, credential.id);
  append(data, cbor::encode(value(key.cose(es256))));
  if (hmac) {
    Map told;
    told.add(value("hmac-secret"), value(true));
    append(data, cbor::encode(value(std::move(told))));
  }
  Bytes to_sign = data;
  append(to_sign, request.client_data_hash);
  Map statement;  // self attestation: WebAuthn section 8.2
  statement.add(value("alg"), value(es256)).add(value("sig"), value(key.sign(to_sign)));
  state_.credentials.push_back(std::move(credential));
  save();
  Map out;
  out.add(value(1), value("packed")).add(value(2), value(std::move(data)));
  out.add(value(3), value(std::move(statement)));
  return out;
}

// Section 12.5: what the salts become.
Bytes Authenticator::hmac_answer(const Map& in, const Credential& credential, bool verified) const {
  const int protocol = in.at(4) == nullptr ? 1 : protocol_of(in, 4);
  const auto z = agreement_.agree(need(in, 1).map());
  if (!z) throw Refused{Ctap::invalid_parameter};
  const SharedSecret shared = SharedSecret::from(protocol, *z);
  const Bytes& encrypted = need(in, 2).bytes();
  if (!shared.verify(encrypted, need(in, 3).bytes())) throw Refused{Ctap::pin_auth_invalid};
  const auto salts = shared.decrypt(encrypted);
  if (!salts || (salts->size() != 32 && salts->size() != 64)) throw Refused{Ctap::invalid_length};
  const Bytes& random = verified ? credential.random_with_uv : credential.random_without_uv;
  Bytes out;
  for (View rest = *salts; !rest.empty(); rest = rest.subspan(32))
    append(out, hmac_sha256(random, rest.first(32)));
  return shared.encrypt(out);
}

Map Authenticator::get_assertion(const Map& in) {
  const Request request{.map = in,
                        .rp = need(in, 1).text(),
                        .client_data_hash = need(in, 2).bytes(),
                        .permission = may_assert,
                        .options = 5,
                        .auth = 6,
                        .protocol = 7};
  const Map* const options = extension(in, 5);
  if (options != nullptr && options->at("rk") != nullptr) throw Refused{Ctap::unsupported_option};
  const bool up = option(in, 5, "up", true);
  const bool verified = verified_user(request);
  const Credential* credential = nullptr;
  if (!known_list(in, 3, request.rp, credential)) throw Refused{Ctap::no_credentials};
  const Map* const extensions = extension(in, 4);
  const Value* const hmac =
      extensions == nullptr || !model_.hmac_secret ? nullptr : extensions->at("hmac-secret");
  if (hmac != nullptr && !up) throw Refused{Ctap::unsupported_option};
  if (up) {
    wait_for_touch();
    token_.permissions = 0;
  }
  Bytes data =
      head_of_auth_data(request.rp, (up ? user_present : 0) | (verified ? user_verified : 0) |
                                        (hmac != nullptr ? extension_data : 0));
  if (hmac != nullptr) {
    Map told;
    told.add(value("hmac-secret"), value(hmac_answer(hmac->map(), *credential, verified)));
    append(data, cbor::encode(value(std::move(told))));
  }
  save();
  Bytes to_sign = data;
  append(to_sign, request.client_data_hash);
  Map out;
  out.add(value(1), value(descriptor(credential->id))).add(value(2), value(std::move(data)));
  out.add(value(3), value(P256Key::from_der(credential->private_key).sign(to_sign)));
  return out;
}

Map Authenticator::reset() {
  wait_for_touch();
  state_ = {};
  finger_tries_ = 3;
  power_cycle();
  save();
  return {};
}

}  // namespace volseal::test
