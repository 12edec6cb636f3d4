#include "core/protect/fido2_token.h"

#include "core/protect/token_json.h"

#include <algorithm>

namespace volseal {

namespace {

constexpr std::size_t max_credential = 1024;
constexpr std::size_t max_rp = 253;  // a domain name, RFC 1035

// It is sent to the key, and told to people.
std::string rp_of(const TokenJson& json) {
  if (!json.has("fido2-rp")) return Fido2Token().rp;
  auto rp = json.text("fido2-rp", max_rp);
  if (!std::ranges::all_of(rp, [](char c) { return c > ' ' && c <= '~'; }))
    json.damaged("the relying party has characters that no domain has");
  return rp;
}

}  // namespace

Fido2Token fido2_members(const TokenJson& json) {
  return {.keyslots = {},
          .credential = json.bytes("fido2-credential", 1, max_credential),
          .salt = json.bytes("fido2-salt", Fido2Token::salt_size, Fido2Token::salt_size),
          .rp = rp_of(json),
          .pin = json.flag("fido2-clientPin-required"),
          .touch = json.flag("fido2-up-required"),
          .uv = json.flag("fido2-uv-required")};
}

void put_fido2_members(nlohmann::ordered_json& json, const Fido2Token& token) {
  json["fido2-credential"] = to_base64(token.credential);
  json["fido2-salt"] = to_base64(token.salt);
  json["fido2-rp"] = token.rp;
  if (token.pin) json["fido2-clientPin-required"] = *token.pin;
  if (token.touch) json["fido2-up-required"] = *token.touch;
  if (token.uv) json["fido2-uv-required"] = *token.uv;
}

Fido2Token parse_fido2_token(std::string_view text) {
  const TokenJson json(text, Fido2Token::type);
  Fido2Token token = fido2_members(json);
  token.keyslots = json.keyslots("keyslots");
  return token;
}

std::string to_json(const Fido2Token& token) {
  nlohmann::ordered_json json;
  json["type"] = Fido2Token::type;
  json["keyslots"] = keyslots_json(token.keyslots);
  put_fido2_members(json, token);
  return token_text(json);
}

}  // namespace volseal
