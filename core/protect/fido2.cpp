#include "core/protect/fido2.h"

#include "core/base/error.h"
#include "core/protect/fido2_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

using fido2::Asserted;
using fido2::Device;
using fido2::Made;
using fido2::Pin;

// A key refuses the fourth wrong PIN in a row until it was pulled out (CTAP 2.1 section 6.5.5.7).
constexpr int most_pins = 3;
constexpr std::size_t shortest_pin = 4;
constexpr std::size_t longest_pin = 63;

// How a step ended; not opened: why.
struct Step {
  Outcome outcome = Outcome::opened;
  std::string reason;
  std::optional<int> tries_left;

  bool good() const { return outcome == Outcome::opened; }
};

Step step(Outcome outcome, std::string reason) {
  return {.outcome = outcome, .reason = std::move(reason), .tries_left = std::nullopt};
}

std::string tries(int left) {
  return left == 1 ? "one try left, then the key is blocked for good"
                   : fmt::format("{} tries left", left);
}

Step step_of(int status, const Device& device) {
  const std::string& name = device.key().name;
  switch (status) {
    case FIDO_OK: return {};
    case FIDO_ERR_PIN_INVALID: {
      const auto left = device.tries_left();
      if (left == 0) return step_of(FIDO_ERR_PIN_BLOCKED, device);
      return {.outcome = Outcome::wrong_pin,
              .reason = left ? fmt::format("wrong PIN of {}; {}", name, tries(*left))
                             : fmt::format("wrong PIN of {}", name),
              .tries_left = left};
    }
    case FIDO_ERR_PIN_AUTH_BLOCKED:
      if (device.tries_left() == 0) return step_of(FIDO_ERR_PIN_BLOCKED, device);
      return step(Outcome::locked_out,
                  fmt::format("{} takes no PIN after three wrong ones, until it is pulled out and "
                              "plugged in again",
                              name));
    case FIDO_ERR_PIN_BLOCKED:
      return step(
          Outcome::pin_blocked,
          fmt::format("the PIN of {} is blocked for good, after too many wrong ones", name));
    case FIDO_ERR_PIN_NOT_SET: return step(Outcome::no_pin, fmt::format("{} has no PIN", name));
    case FIDO_ERR_UV_BLOCKED:
    case FIDO_ERR_UV_INVALID:
      return step(Outcome::locked_out, fmt::format("{} does not recognise the finger", name));
    case FIDO_ERR_NO_CREDENTIALS:
    case FIDO_ERR_INVALID_CREDENTIAL:
      return step(Outcome::not_mine, fmt::format("{} is not the key that was enrolled", name));
    case FIDO_ERR_USER_ACTION_TIMEOUT:
    case FIDO_ERR_ACTION_TIMEOUT:
    case FIDO_ERR_OPERATION_DENIED:
    case FIDO_ERR_KEEPALIVE_CANCEL:
      return step(Outcome::no_touch, fmt::format("{} was not touched in time", name));
    case FIDO_ERR_TX:
    case FIDO_ERR_RX:
      if (!device.is_there())
        return step(Outcome::pulled_out, fmt::format("{} was pulled out", name));
      return step(Outcome::unavailable, fmt::format("{} does not answer", name));
    default:
      return step(Outcome::unavailable, fmt::format("{} says: {}", name, fido_strerr(status)));
  }
}

// One key, one person, until it opened or cannot.
class Conversation {
 public:
  Conversation(const Device& device, const Fido2Person& person)
      : device_(device), person_(person) {}

  // Whatever the key is to be asked for next has to be done with PIN or finger.
  bool by_finger() const { return by_finger_; }
  void use_finger() { by_finger_ = true; }
  const char* pin() const { return pin_ ? pin_->chars() : nullptr; }

  // The PIN is checked before the touch is asked for, by an assertion that wants none: what a
  // person got wrong is said at once. `token`: by its credential a wrong key shows as well.
  Step learn_pin(const Fido2Token& token) {
    by_finger_ = false;
    if (!device_.key().pin_set) return step_of(FIDO_ERR_PIN_NOT_SET, device_);
    for (int tried = 0; !pin_; ++tried) {
      const auto left = device_.tries_left();
      if (left == 0) return step_of(FIDO_ERR_PIN_BLOCKED, device_);
      auto typed = person_.ask_pin
                       ? person_.ask_pin(left ? fmt::format("PIN of the FIDO2 key {} ({})",
                                                            device_.key().name, tries(*left))
                                              : "PIN of the FIDO2 key " + device_.key().name,
                                         tried)
                       : std::nullopt;
      if (!typed || typed->empty())
        return step(Outcome::needs_pin, fmt::format("no PIN of {} was given", device_.key().name));
      const Step checked = check_pin(*typed, token);
      if (checked.outcome != Outcome::wrong_pin || tried + 1 == most_pins) return checked;
      tell(checked.reason);
    }
    return {};
  }

  void ask_for_touch(std::string_view why) const {
    tell(by_finger_ ? fmt::format("put your finger on the FIDO2 key {} {}", device_.key().name, why)
                    : fmt::format("touch the FIDO2 key {} {}", device_.key().name, why));
  }

  void tell(const std::string& text) const {
    if (person_.tell) person_.tell(text);
  }

 private:
  // What else the assertion says is for the one that matters, except what cannot get better.
  Step check_pin(const Secret& typed, const Fido2Token& token) {
    if (typed.size() < shortest_pin || typed.size() > longest_pin) {
      // It would cost one of the tries.
      return step(Outcome::wrong_pin, fmt::format("a PIN has {} to {} characters; the key was not "
                                                  "asked",
                                                  shortest_pin, longest_pin));
    }
    pin_.emplace(typed);
    const int status = device_.ask({.token = token, .pin = pin()}).status;
    switch (status) {
      case FIDO_ERR_PIN_INVALID: pin_.reset(); return step_of(status, device_);
      case FIDO_ERR_PIN_AUTH_BLOCKED:
      case FIDO_ERR_PIN_BLOCKED:
      case FIDO_ERR_PIN_NOT_SET:
      case FIDO_ERR_TX:
      case FIDO_ERR_RX: return step_of(status, device_);
      default: return {};
    }
  }

  const Device& device_;
  const Fido2Person& person_;
  std::optional<Pin> pin_;
  bool by_finger_ = false;
};

struct Opened {
  Step step;
  Secret passphrase;
};

// The touch, the PIN and the finger as the token wants them; and where it leaves that to the key,
// as the key wants it (systemd 248 wrote such tokens, and this is what it does with them).
Opened open_with(const Device& device, Conversation& talk, const Fido2Token& token) {
  bool touch = token.touch.value_or(false);
  bool pin_wanted = token.pin == true;
  if (token.uv == true && !pin_wanted) {
    if (device.key().verifies) {
      talk.use_finger();
    } else {
      pin_wanted = true;
    }
  }
  for (;;) {
    if (pin_wanted && talk.pin() == nullptr) {
      const Step learned = talk.learn_pin(token);
      if (!learned.good()) return {.step = learned, .passphrase = {}};
    }
    if (touch || talk.by_finger()) talk.ask_for_touch("now");
    const Asserted asserted = device.ask({.token = token,
                                          .pin = talk.pin(),
                                          .uv = talk.by_finger(),
                                          .touch = touch,
                                          .secret = true});
    const int status = asserted.status;
    if (status == FIDO_OK) return {.step = {}, .passphrase = base64_of(asserted.secret)};
    const bool touch_missing =
        !touch && !token.touch &&
        (status == FIDO_ERR_UP_REQUIRED || status == FIDO_ERR_UNSUPPORTED_OPTION);
    const bool pin_missing = !pin_wanted && !token.pin && status == FIDO_ERR_PIN_REQUIRED;
    const bool finger_unknown = talk.by_finger() && device.key().pin_set &&
                                (status == FIDO_ERR_UV_BLOCKED || status == FIDO_ERR_UV_INVALID);
    if (!touch_missing && !pin_missing && !finger_unknown)
      return {.step = step_of(status, device), .passphrase = {}};
    if (finger_unknown) talk.tell(step_of(status, device).reason + "; its PIN does as well");
    touch = touch || touch_missing;
    // By PIN or by finger: the person is verified, and the secret the same.
    pin_wanted = pin_wanted || pin_missing || finger_unknown;
  }
}

enum class Has { no, maybe, yes };

// Without a touch. What wants to verify the person first may hide its credentials until then.
Has has_credential(const Device& device, const Fido2Token& token) {
  const int status = device.ask({.token = token}).status;
  if (status == FIDO_OK) return Has::yes;
  const bool absent = status == FIDO_ERR_NO_CREDENTIALS || status == FIDO_ERR_INVALID_CREDENTIAL;
  if (!absent) return Has::maybe;
  return token.uv == true ? Has::maybe : Has::no;
}

struct Candidate {
  std::size_t device = 0;
  std::size_t token = 0;
  Has has = Has::no;
};

std::vector<Candidate> candidates(const std::vector<Device>& devices,
                                  std::span<const Fido2Token> tokens) {
  std::vector<Candidate> found;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (!devices[d].key().usable) continue;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const Has has = has_credential(devices[d], tokens[t]);
      if (has != Has::no) found.push_back({.device = d, .token = t, .has = has});
    }
  }
  std::ranges::stable_sort(found, std::greater{}, &Candidate::has);
  return found;
}

std::string names_of(const std::vector<Device>& devices) {
  std::string names;
  for (const Device& device : devices) {
    if (!names.empty()) names += ", ";
    names += device.key().name;
    if (!device.key().problem.empty()) names += " (" + device.key().problem + ")";
  }
  return names;
}

Fido2Answer refusal(Step why) {
  Fido2Answer answer;
  answer.outcome = why.outcome;
  answer.reason = std::move(why.reason);
  answer.tries_left = why.tries_left;
  return answer;
}

[[noreturn]] void refuse(const std::string& doing, const Step& why) {
  const Code code = why.outcome == Outcome::pulled_out || why.outcome == Outcome::no_key
                        ? Code::no_key
                        : Code::key_refused;
  throw Error(code, "{}: {}", doing, why.reason);
}

const Device& the_one(const std::vector<Device>& devices, const std::string& path) {
  if (devices.empty()) throw Error(Code::no_key, "enroll a FIDO2 key: none is plugged in");
  const auto at = std::ranges::find_if(
      devices, [&](const Device& device) { return device.key().path == path; });
  if (!path.empty() && at == devices.end())
    throw Error(Code::no_key, "enroll a FIDO2 key: {} is none", path);
  if (path.empty() && devices.size() > 1) {
    throw Error(Code::usage,
                "enroll a FIDO2 key: {} are plugged in ({}); leave one, or name it with --device",
                devices.size(), names_of(devices));
  }
  const Device& device = path.empty() ? devices.front() : *at;
  const Fido2Key& key = device.key();
  if (!key.usable)
    throw Error(Code::key_refused, "enroll the FIDO2 key {}: {}", key.name, key.problem);
  if (!key.pin_set && !key.verifies) {
    throw Error(Code::key_refused,
                "enroll the FIDO2 key {}: it has no PIN; set one with 'fido2-token -S {}'",
                key.name, key.path);
  }
  return device;
}

}  // namespace

std::vector<Fido2Key> Fido2::keys() {
  std::vector<Fido2Key> keys;
  for (const Device& device : Device::all()) keys.push_back(device.key());
  return keys;
}

bool Fido2::is_plugged_in() {
  return !Device::paths().empty();
}

const Fido2::Known* Fido2::known(const Fido2Token& token) const {
  const auto found =
      std::ranges::find_if(known_, [&](const Known& one) { return one.token.same_secret(token); });
  return found == known_.end() ? nullptr : &*found;
}

void Fido2::remember(const Fido2Token& token, const Secret& passphrase) {
  known_.push_back({.token = token, .passphrase = passphrase.clone()});
}

Fido2::Enrolled Fido2::enroll(const std::string& user, const std::string& label,
                              const std::string& path, std::span<const Fido2Token> others) {
  const std::vector<Device> devices = Device::all();
  const Device& device = the_one(devices, path);
  const Fido2Key& key = device.key();
  const std::string doing = "enroll the FIDO2 key " + key.name;
  // Two keyslots of one key are no spare key.
  for (const Fido2Token& other : others) {
    if (has_credential(device, other) == Has::yes)
      throw Error(Code::usage, "{}: it opens a keyslot of the volume already", doing);
  }

  Enrolled enrolled{.token = {}, .passphrase = {}, .key = key};
  Fido2Token& token = enrolled.token;
  token.salt.resize(Fido2Token::salt_size);
  std::ranges::copy(Secret::random(Fido2Token::salt_size).bytes(), token.salt.begin());
  token.pin = !key.verifies;
  token.touch = true;
  token.uv = key.verifies;

  Conversation talk(device, person_);
  if (key.verifies) {
    talk.use_finger();
  } else {
    // There is no credential yet: the key looks for one that nobody has, and checks the PIN for it.
    Fido2Token nobody = token;
    nobody.credential = token.salt;
    if (const Step learned = talk.learn_pin(nobody); !learned.good()) refuse(doing, learned);
  }
  talk.ask_for_touch("now, to enroll it");
  Made made = device.make(token, user, label, talk.pin(), talk.by_finger());
  if (made.status != FIDO_OK) refuse(doing, step_of(made.status, device));
  token.credential = std::move(made.credential);
  talk.tell("once more, to see what it opens with");
  Opened opened = open_with(device, talk, token);
  if (!opened.step.good()) refuse(doing, opened.step);
  enrolled.passphrase = std::move(opened.passphrase);
  remember(token, enrolled.passphrase);
  return enrolled;
}

Fido2Answer Fido2::open(std::span<const Fido2Token> tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (const Known* const before = known(tokens[i])) {
      Fido2Answer answer;
      answer.outcome = Outcome::opened;
      answer.passphrase = before->passphrase.clone();
      answer.token = i;
      return answer;
    }
  }
  const std::vector<Device> devices = Device::all();
  if (devices.empty()) return refusal(step(Outcome::no_key, "no FIDO2 key is plugged in"));
  const std::vector<Candidate> order = candidates(devices, tokens);
  Step last =
      step(Outcome::not_mine,
           devices.size() == 1
               ? fmt::format("{} is not a key that was enrolled", names_of(devices))
               : fmt::format("none of the {} FIDO2 keys that are plugged in was enrolled: {}",
                             devices.size(), names_of(devices)));
  for (const Candidate& candidate : order) {
    const Device& device = devices[candidate.device];
    Conversation talk(device, person_);
    if (devices.size() > 1) {
      talk.tell(fmt::format("{} FIDO2 keys are plugged in; trying {}, which {}", devices.size(),
                            device.key().name,
                            candidate.has == Has::yes ? "was enrolled" : "may be the one"));
    }
    Opened opened = open_with(device, talk, tokens[candidate.token]);
    if (opened.step.good()) {
      remember(tokens[candidate.token], opened.passphrase);
      Fido2Answer answer;
      answer.outcome = Outcome::opened;
      answer.passphrase = std::move(opened.passphrase);
      answer.token = candidate.token;
      return answer;
    }
    last = std::move(opened.step);
    // "Not mine, try the next"; whatever else happened is for the person to hear.
    if (last.outcome != Outcome::not_mine) break;
  }
  return refusal(std::move(last));
}

}  // namespace volseal
