// A CTAP 2.1 authenticator in software: a CBOR command in, a status byte and CBOR out. It knows
// getInfo, makeCredential, getAssertion, clientPIN, reset and selection, ES256 and hmac-secret; no
// resident keys. Where it answers, it answers as FIDO's "Client to Authenticator Protocol",
// proposed standard of June 2021, says: libfido2 is the judge.
#pragma once

#include "tests/support/softkey/state.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace volseal::test {

// Status codes, section 8.2.
enum class Ctap : std::uint8_t {
  ok = 0x00,
  invalid_command = 0x01,
  invalid_parameter = 0x02,
  invalid_length = 0x03,
  unexpected_type = 0x11,
  invalid_cbor = 0x12,
  missing_parameter = 0x14,
  credential_excluded = 0x19,
  unsupported_algorithm = 0x26,
  operation_denied = 0x27,
  unsupported_option = 0x2b,
  invalid_option = 0x2c,
  keepalive_cancel = 0x2d,
  no_credentials = 0x2e,
  user_action_timeout = 0x2f,
  not_allowed = 0x30,
  pin_invalid = 0x31,
  pin_blocked = 0x32,
  pin_auth_invalid = 0x33,
  pin_auth_blocked = 0x34,
  pin_not_set = 0x35,
  pin_required = 0x36,
  pin_policy_violation = 0x37,
  uv_blocked = 0x3c,
  integrity_failure = 0x3d,
  uv_invalid = 0x3f,
  unauthorized_permission = 0x40,
};

enum class Touch { given, timed_out, cancelled };

// The person in front of the key.
class Person {
 public:
  Person() = default;
  Person(const Person&) = delete;
  Person& operator=(const Person&) = delete;
  Person(Person&&) = delete;
  Person& operator=(Person&&) = delete;
  virtual ~Person() = default;

  // Blocks until the key is touched or left alone for too long.
  virtual Touch touch() = 0;
  // A finger that the key knows, for those with a reader.
  virtual bool known_finger() = 0;
};

struct KeyModel {
  std::vector<int> pin_protocols = {2, 1};
  bool ctap21 =
      true;  // else 2.0: no permissions, and one secret whether the user was verified or not
  bool finger_reader = false;
  bool makes_without_pin = false;  // "makeCredUvNotRqd", although it has a PIN
  bool hmac_secret = true;
};

class Authenticator {
 public:
  Authenticator(KeyModel model, Path state_file, Person& person);

  // CTAPHID_CBOR's payload to its answer.
  Bytes process(View command);

  // As pulled out and plugged in again: what is not in the file is forgotten.
  void power_cycle();

  const KeyState& state() const { return state_; }

 private:
  struct PinToken {
    int protocol = 0;
    Bytes token;
    int permissions = 0;
    std::optional<std::string> rp;
  };
  struct Verified {
    bool user_verified = false;
  };
  // What makeCredential and getAssertion have in common, with the keys of their maps.
  struct Request {
    const cbor::Map& map;
    std::string rp;
    const Bytes& client_data_hash;
    int permission;
    int options, auth, protocol;  // keys
  };

  cbor::Map get_info() const;
  cbor::Map make_credential(const cbor::Map& in);
  cbor::Map get_assertion(const cbor::Map& in);
  cbor::Map reset();
  cbor::Map client_pin(const cbor::Map& in);

  void set_pin(const cbor::Map& in);
  void change_pin(const cbor::Map& in);
  void store_pin(const SharedSecret& shared, const Bytes& encrypted);
  void check_pin(const SharedSecret& shared, const Bytes& encrypted_hash);
  cbor::Map issue_token(const cbor::Map& in, bool with_permissions, bool by_finger);
  SharedSecret shared_secret(const cbor::Map& in, int protocol) const;
  int protocol_of(const cbor::Map& in, int key) const;

  bool verified_user(const Request& request);
  bool verify_by_finger();
  void wait_for_touch();
  bool option(const cbor::Map& in, int options, const char* name, bool otherwise) const;
  bool known_list(const cbor::Map& in, int key, std::string_view rp,
                  const Credential*& found) const;
  Bytes hmac_answer(const cbor::Map& in, const Credential& credential, bool verified) const;
  Bytes head_of_auth_data(std::string_view rp, int flags);
  void save() const { save_key_state(file_, state_); }

  KeyModel model_;
  Path file_;
  Person& person_;
  KeyState state_;
  P256Key agreement_ = P256Key::generate();
  PinToken token_;
  int wrong_in_a_row_ = 0;
  int finger_tries_ = 3;
};

// A command that is refused with that status.
struct Refused {
  Ctap status;
};

}  // namespace volseal::test
