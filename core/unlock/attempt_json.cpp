#include "core/unlock/attempt_json.h"

#include "core/base/error.h"
#include "core/base/escape.h"

#include <nlohmann/json.hpp>

#include <array>

namespace volseal {

using Json = nlohmann::ordered_json;

namespace {

Outcome outcome_from(const std::string& text) {
  constexpr std::array all = {Outcome::opened,    Outcome::wrong_secret, Outcome::needs_pin,
                              Outcome::wrong_pin, Outcome::locked_out,   Outcome::policy_mismatch,
                              Outcome::revoked,   Outcome::not_mine,     Outcome::damaged,
                              Outcome::forged,    Outcome::tampered,     Outcome::unavailable,
                              Outcome::no_key,    Outcome::pulled_out,   Outcome::no_touch,
                              Outcome::no_pin,    Outcome::pin_blocked};
  for (const Outcome outcome : all) {
    if (to_string(outcome) == text) return outcome;
  }
  throw Error(Code::damaged, "read an attempt: '{}' is no outcome", escaped(text));
}

}  // namespace

Json json_of(const Attempt& attempt) {
  return {{"volume", to_valid_utf8(attempt.device.native())},
          {"mapping", to_valid_utf8(attempt.mapping)},
          {"luks_uuid", to_valid_utf8(attempt.luks_uuid)},
          {"group", to_valid_utf8(attempt.group)},
          {"protector", attempt.protector},
          {"outcome", to_string(attempt.outcome)},
          {"reason", to_valid_utf8(attempt.reason)},
          {"keyslot", attempt.keyslot ? Json(*attempt.keyslot) : Json()},
          {"findings", attempt.findings},
          {"milliseconds", attempt.took.count()}};
}

Attempt attempt_from_json(const Json& json) {
  try {
    Attempt attempt;
    attempt.device = json.at("volume").get<std::string>();
    attempt.mapping = json.at("mapping").get<std::string>();
    attempt.luks_uuid = json.at("luks_uuid").get<std::string>();
    attempt.group = json.at("group").get<std::string>();
    attempt.protector = json.at("protector").get<std::string>();
    attempt.outcome = outcome_from(json.at("outcome").get<std::string>());
    attempt.reason = json.at("reason").get<std::string>();
    if (!json.at("keyslot").is_null()) attempt.keyslot = json.at("keyslot").get<int>();
    attempt.findings = json.at("findings").get<std::vector<std::string>>();
    attempt.took = std::chrono::milliseconds(json.at("milliseconds").get<std::int64_t>());
    return attempt;
  } catch (const Json::exception&) {
    throw Error(Code::damaged, "read an attempt: a member is missing or of the wrong type");
  }
}

}  // namespace volseal
