#include "core/protect/all_of_token.h"

#include "core/protect/token_json.h"

#include <algorithm>
#include <array>

namespace volseal {

namespace {

constexpr std::array all_parts = {Part::tpm, Part::fido2, Part::recovery_key, Part::passphrase};
constexpr std::size_t longest_kind = 16;
constexpr std::size_t longest_group = 64;
constexpr std::size_t binding_size = 32;

std::optional<Part> part_named(std::string_view name) {
  const auto* at = std::ranges::find(all_parts, name, [](Part part) { return to_string(part); });
  return at == all_parts.end() ? std::nullopt : std::optional(*at);
}

void read_part(AllOfToken& token, Part part, const TokenJson& json) {
  switch (part) {
    case Part::tpm:
      json.only({"kind", "group", "binding", "sealed"});
      token.tpm = {.group = json.text("group", longest_group),
                   .binding = json.bytes("binding", binding_size, binding_size),
                   .sealed = json.object("sealed")};
      return;
    case Part::fido2:
      json.only({"kind", "fido2-credential", "fido2-salt", "fido2-rp", "fido2-clientPin-required",
                 "fido2-up-required", "fido2-uv-required"});
      token.fido2 = fido2_members(json);
      return;
    case Part::recovery_key:
      json.only({"kind", "check"});
      token.recovery_key = json.bytes("check", AllOfToken::check_size, AllOfToken::check_size);
      return;
    case Part::passphrase:
      json.only({"kind"});
      token.passphrase = true;
      return;
  }
}

nlohmann::ordered_json part_json(const AllOfToken& token, Part part) {
  nlohmann::ordered_json json = {{"kind", to_string(part)}};
  if (part == Part::tpm && token.tpm) {
    json["group"] = token.tpm->group;
    json["binding"] = to_base64(token.tpm->binding);
    json["sealed"] = sealed_json(token.tpm->sealed);
  }
  if (part == Part::fido2 && token.fido2) put_fido2_members(json, *token.fido2);
  if (part == Part::recovery_key && token.recovery_key)
    json["check"] = to_base64(*token.recovery_key);
  return json;
}

}  // namespace

std::string_view to_string(Part part) {
  switch (part) {
    case Part::tpm: return "tpm";
    case Part::fido2: return "fido2";
    case Part::recovery_key: return "recovery-key";
    case Part::passphrase: return "passphrase";
  }
  return "";
}

std::optional<std::vector<Part>> parse_parts(std::string_view text) {
  std::vector<Part> parts;
  for (;;) {
    const auto plus = text.find('+');
    const auto part = part_named(text.substr(0, plus));
    if (!part || std::ranges::find(parts, *part) != parts.end()) return std::nullopt;
    parts.push_back(*part);
    if (plus == std::string_view::npos) break;
    text.remove_prefix(plus + 1);
  }
  if (parts.size() < 2) return std::nullopt;
  std::ranges::sort(parts);
  return parts;
}

std::string to_string(const std::vector<Part>& parts) {
  std::string text;
  for (const Part part : parts) {
    if (!text.empty()) text += '+';
    text += to_string(part);
  }
  return text;
}

std::vector<Part> AllOfToken::parts() const {
  std::vector<Part> parts;
  if (tpm) parts.push_back(Part::tpm);
  if (fido2) parts.push_back(Part::fido2);
  if (recovery_key) parts.push_back(Part::recovery_key);
  if (passphrase) parts.push_back(Part::passphrase);
  return parts;
}

AllOfToken parse_all_of_token(std::string_view text) {
  const TokenJson json(text, AllOfToken::type);
  json.only({"type", "keyslots", "version", "salt", "parts"});
  if (!json.is_one("version")) json.damaged("it is of a version that this program does not know");
  AllOfToken token;
  token.keyslots = json.keyslots("keyslots");
  token.salt = json.bytes("salt", AllOfToken::salt_size, AllOfToken::salt_size);
  std::optional<Part> before;
  for (const TokenJson& object : json.objects("parts", all_parts.size())) {
    const auto part = part_named(object.text("kind", longest_kind));
    if (!part) json.damaged("a part is of an unknown kind");
    if (before && *before >= *part) json.damaged("its parts are not in their order");
    before = part;
    read_part(token, *part, object);
  }
  if (token.parts().size() < 2) json.damaged("it has fewer than two parts");
  return token;
}

std::string to_json(const AllOfToken& token) {
  nlohmann::ordered_json json;
  json["type"] = AllOfToken::type;
  json["keyslots"] = keyslots_json(token.keyslots);
  json["version"] = 1;
  json["salt"] = to_base64(token.salt);
  json["parts"] = nlohmann::ordered_json::array();
  for (const Part part : token.parts()) json["parts"].push_back(part_json(token, part));
  return token_text(json);
}

}  // namespace volseal
