// FIDO2 security keys, through libfido2: enrolling a credential, and getting the secret that opens
// a volume. The only user of libfido2. CTAP 2.1 sections 6.1, 6.2 and 12.5.
//
// Each call may block for as long as the person takes, and the key's own patience (30 s mostly).
// What a key or a person may answer is an outcome; Error is for what leaves nothing to be tried.
#pragma once

#include "core/base/secret.h"
#include "core/protect/fido2_token.h"
#include "core/protect/group_protector.h"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace volseal {

// How the person is reached.
struct Fido2Person {
  // Nothing: nobody there, or given up. `tried`: how often before, for this key.
  std::function<std::optional<Secret>(const std::string& prompt, int tried)> ask_pin;
  // What to do now: "touch the key ...".
  std::function<void(const std::string& text)> tell;
};

struct Fido2Key {
  std::string path;  // /dev/hidrawN
  std::string name;  // what it calls itself; comes from the device
  bool usable = false;
  std::string problem;  // why it is not usable
  bool pin_set = false;
  bool verifies = false;   // by itself, and somebody is enrolled: a fingerprint reader
  bool binds_pin = false;  // CTAP 2.1: without PIN or finger it computes another secret
};

struct Fido2Answer {
  Outcome outcome = Outcome::no_key;
  Secret passphrase;              // of the keyslot, when opened
  std::size_t token = 0;          // which of those that were given, when opened
  std::string reason;             // one sentence for people, when not
  std::optional<int> tries_left;  // wrong_pin
};

class Fido2 {
 public:
  explicit Fido2(Fido2Person person) : person_(std::move(person)) {}

  // Those that are plugged in, asked what they can.
  static std::vector<Fido2Key> keys();
  // One is plugged in, usable or not.
  static bool is_plugged_in();

  struct Enrolled {
    Fido2Token token;  // without keyslots
    Secret passphrase;
    Fido2Key key;
  };
  // A new credential on the only key that is plugged in, or the one at `path`, and its secret: two
  // touches. `user`: the LUKS UUID, as systemd writes it. The key's PIN and a touch are required,
  // or its own verification of the person and a touch. A key that has the
  // credential of one of `others` is enrolled already. Throws Error{no_key, key_refused, usage}.
  Enrolled enroll(const std::string& user, const std::string& label, const std::string& path = {},
                  std::span<const Fido2Token> others = {});

  // The secret of any of the tokens of a volume, by the key that has one of their credentials. A
  // secret that this object got before comes back without asking or touching anything.
  Fido2Answer open(std::span<const Fido2Token> tokens);

 private:
  struct Known {
    Fido2Token token;
    Secret passphrase;
  };

  const Known* known(const Fido2Token& token) const;
  void remember(const Fido2Token& token, const Secret& passphrase);

  Fido2Person person_;
  std::vector<Known> known_;
};

}  // namespace volseal
