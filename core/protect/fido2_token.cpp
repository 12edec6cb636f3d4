#include "core/protect/fido2_token.h"

#include "core/base/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <set>

namespace volseal {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::size_t max_token = 12288;
constexpr std::size_t max_credential = 1024;
constexpr std::size_t max_rp = 253;  // a domain name, RFC 1035
constexpr int max_keyslot = 31;

[[noreturn]] void damaged(const char* what) {
  throw Error(Code::damaged, "read the systemd-fido2 token: {}", what);
}

// Of two members of the same name, readers differ in which one they take.
Json parsed(std::string_view text) {
  std::vector<std::set<std::string>> names;
  bool twice = false;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key)
      twice = !names.back().insert(value.get<std::string>()).second || twice;
    return true;
  };
  Json root = Json::parse(text, watch, false);
  if (root.is_discarded() || !root.is_object()) damaged("it is no JSON object");
  if (twice) damaged("a member is there twice");
  return root;
}

std::string text_of(const Json& root, const char* name, std::size_t longest) {
  const auto at = root.find(name);
  if (at == root.end() || !at->is_string()) damaged("a member is missing or no string");
  auto text = at->get<std::string>();
  if (text.empty() || text.size() > longest) damaged("a string has the wrong length");
  return text;
}

Bytes bytes_of(const Json& root, const char* name, std::size_t least, std::size_t most) {
  auto bytes = from_base64(text_of(root, name, (most + 2) / 3 * 4));
  if (!bytes || bytes->size() < least || bytes->size() > most)
    damaged("a binary member has the wrong size");
  return std::move(*bytes);
}

std::optional<bool> flag_of(const Json& root, const char* name) {
  const auto at = root.find(name);
  if (at == root.end()) return std::nullopt;
  if (!at->is_boolean()) damaged("a flag is no boolean");
  return at->get<bool>();
}

// It is sent to the key, and told to people.
std::string rp_of(const Json& root) {
  if (!root.contains("fido2-rp")) return Fido2Token().rp;
  auto rp = text_of(root, "fido2-rp", max_rp);
  if (!std::ranges::all_of(rp, [](char c) { return c > ' ' && c <= '~'; }))
    damaged("the relying party has characters that no domain has");
  return rp;
}

// LUKS2 writes keyslots as decimal strings (on-disk format 1.1, section 3.6).
std::vector<int> keyslots_of(const Json& root) {
  const auto at = root.find("keyslots");
  if (at == root.end() || !at->is_array() || at->size() > max_keyslot + 1)
    damaged("the keyslots are no list");
  std::vector<int> slots;
  for (const Json& slot : *at) {
    if (!slot.is_string()) damaged("a keyslot is no string");
    const auto text = slot.get<std::string>();
    int number = -1;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end || number < 0 || number > max_keyslot)
      damaged("a keyslot has no number");
    slots.push_back(number);
  }
  return slots;
}

}  // namespace

Fido2Token parse_fido2_token(std::string_view json) {
  if (json.size() > max_token) damaged("it is too long");
  const Json root = parsed(json);
  if (text_of(root, "type", 64) != Fido2Token::type) damaged("it is of another type");
  return {.keyslots = keyslots_of(root),
          .credential = bytes_of(root, "fido2-credential", 1, max_credential),
          .salt = bytes_of(root, "fido2-salt", Fido2Token::salt_size, Fido2Token::salt_size),
          .rp = rp_of(root),
          .pin = flag_of(root, "fido2-clientPin-required"),
          .touch = flag_of(root, "fido2-up-required"),
          .uv = flag_of(root, "fido2-uv-required")};
}

std::string to_json(const Fido2Token& token) {
  Json root;
  root["type"] = Fido2Token::type;
  root["keyslots"] = Json::array();
  for (const int slot : token.keyslots) root["keyslots"].push_back(std::to_string(slot));
  root["fido2-credential"] = to_base64(token.credential);
  root["fido2-salt"] = to_base64(token.salt);
  root["fido2-rp"] = token.rp;
  if (token.pin) root["fido2-clientPin-required"] = *token.pin;
  if (token.touch) root["fido2-up-required"] = *token.touch;
  if (token.uv) root["fido2-uv-required"] = *token.uv;
  return root.dump();
}

}  // namespace volseal
