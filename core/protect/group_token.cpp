#include "core/base/error.h"
#include "core/protect/group_protector.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace volseal {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::size_t max_token = 12288;
constexpr int max_keyslot = 31;

[[noreturn]] void damaged(const char* what) {
  throw Error(Code::damaged, "read the volseal-tpm2 token: {}", what);
}

const Json& member(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end()) damaged("a member is missing");
  return *at;
}

std::string text_of(const Json& value, std::size_t limit) {
  if (!value.is_string()) damaged("a member is no string");
  auto text = value.get<std::string>();
  if (text.empty() || text.size() > limit) damaged("a string has the wrong length");
  return text;
}

Bytes bytes_of(const Json& value, std::size_t size) {
  auto bytes = from_base64(text_of(value, size * 2));
  if (!bytes || bytes->size() != size) damaged("a binary member has the wrong size");
  return std::move(*bytes);
}

int keyslot_of(const std::string& text) {
  int slot = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), slot);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || slot < 0 || slot > max_keyslot) damaged("a keyslot has no number");
  return slot;
}

// LUKS2 writes keyslots as decimal strings (on-disk format 1.1, section 3.6).
std::vector<int> keyslots_of(const Json& value) {
  if (!value.is_array() || value.size() > max_keyslot + 1) damaged("the keyslots are no list");
  std::vector<int> slots;
  for (const Json& slot : value) slots.push_back(keyslot_of(text_of(slot, 2)));
  return slots;
}

Json json_of(const std::vector<int>& keyslots) {
  Json list = Json::array();
  for (const int slot : keyslots) list.push_back(std::to_string(slot));
  return list;
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::opened: return "opened";
    case Outcome::wrong_secret: return "wrong-secret";
    case Outcome::needs_pin: return "needs-pin";
    case Outcome::wrong_pin: return "wrong-pin";
    case Outcome::locked_out: return "locked-out";
    case Outcome::policy_mismatch: return "policy-mismatch";
    case Outcome::revoked: return "revoked";
    case Outcome::not_mine: return "not-mine";
    case Outcome::damaged: return "damaged";
    case Outcome::forged: return "forged";
    case Outcome::tampered: return "tampered";
    case Outcome::unavailable: return "unavailable";
    case Outcome::no_key: return "no-key";
    case Outcome::pulled_out: return "pulled-out";
    case Outcome::no_touch: return "no-touch";
    case Outcome::no_pin: return "no-pin";
    case Outcome::pin_blocked: return "pin-blocked";
  }
  return "unavailable";
}

GroupToken parse_group_token(std::string_view json) {
  if (json.size() > max_token) damaged("it is too long");
  const Json root = Json::parse(json, nullptr, false);
  if (root.is_discarded() || !root.is_object()) damaged("it is no JSON object");
  static constexpr std::array known = {"type",    "keyslots",       "version",
                                       "group",   "salt",           "binding-scope",
                                       "binding", "known-keyslots", "sealed"};
  for (const auto& [key, value] : root.items()) {
    if (std::ranges::find(known, key) == known.end()) damaged("it has an unknown member");
  }
  if (text_of(member(root, "type"), 64) != "volseal-tpm2") damaged("it is of another type");
  if (member(root, "version") != 1) damaged("it is of a version that this program does not know");

  GroupToken token;
  token.keyslots = keyslots_of(member(root, "keyslots"));
  token.group = text_of(member(root, "group"), 64);
  token.salt = bytes_of(member(root, "salt"), 32);
  token.binding_scope = text_of(member(root, "binding-scope"), 16);
  if (token.binding_scope != "full" && token.binding_scope != "reencrypt") {
    damaged("its binding has an unknown scope");
  }
  token.binding = bytes_of(member(root, "binding"), 32);
  token.known_keyslots = keyslots_of(member(root, "known-keyslots"));
  const Json& sealed = member(root, "sealed");
  if (!sealed.is_object()) damaged("its sealed part is no object");
  token.sealed = sealed.dump();
  return token;
}

std::string to_json(const GroupToken& token) {
  Json root;
  root["type"] = "volseal-tpm2";
  root["keyslots"] = json_of(token.keyslots);
  root["version"] = 1;
  root["group"] = token.group;
  root["salt"] = to_base64(token.salt);
  root["binding-scope"] = token.binding_scope;
  root["binding"] = to_base64(token.binding);
  root["known-keyslots"] = json_of(token.known_keyslots);
  root["sealed"] = Json::parse(token.sealed, nullptr, false);
  if (!root["sealed"].is_object())
    throw Error(Code::internal, "write a token: the sealed part is no JSON object");
  std::string text = root.dump();
  if (text.size() > max_token)
    throw Error(Code::internal, "write a token: {} bytes are too many", text.size());
  return text;
}

}  // namespace volseal
