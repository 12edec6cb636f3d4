#include "core/protect/token_json.h"

#include "core/base/error.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t max_token = 12288;
constexpr int max_keyslot = 31;
constexpr std::size_t longest_type = 64;

std::optional<int> keyslot_number(std::string_view text) {
  int slot = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), slot);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || slot < 0 || slot > max_keyslot) return std::nullopt;
  return slot;
}

}  // namespace

TokenJson::TokenJson(std::string_view text, const char* type) : type_(type) {
  if (text.size() > max_token) damaged("it is too long");
  // Of two members of the same name, readers differ in which one they take.
  std::vector<std::set<std::string>> names;
  bool twice = false;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key)
      twice = !names.back().insert(value.get<std::string>()).second || twice;
    return true;
  };
  json_ = Json::parse(text, watch, false);
  if (json_.is_discarded() || !json_.is_object()) damaged("it is no JSON object");
  if (twice) damaged("a member is there twice");
  if (this->text("type", longest_type) != type) damaged("it is of another type");
}

void TokenJson::damaged(const char* what) const {
  throw Error(Code::damaged, "read the {} token: {}", type_, what);
}

void TokenJson::only(std::initializer_list<std::string_view> names) const {
  for (const auto& [key, value] : json_.items()) {
    if (std::ranges::find(names, key) == names.end()) damaged("it has an unknown member");
  }
}

const TokenJson::Json& TokenJson::member(const char* name) const {
  const auto at = json_.find(name);
  if (at == json_.end()) damaged("a member is missing");
  return *at;
}

std::string TokenJson::text(const char* name, std::size_t longest) const {
  const Json& value = member(name);
  if (!value.is_string()) damaged("a member is no string");
  auto text = value.get<std::string>();
  if (text.empty() || text.size() > longest) damaged("a string has the wrong length");
  return text;
}

Bytes TokenJson::bytes(const char* name, std::size_t least, std::size_t most) const {
  auto bytes = from_base64(text(name, (most + 2) / 3 * 4));
  if (!bytes || bytes->size() < least || bytes->size() > most)
    damaged("a binary member has the wrong size");
  return std::move(*bytes);
}

std::optional<bool> TokenJson::flag(const char* name) const {
  if (!has(name)) return std::nullopt;
  const Json& value = member(name);
  if (!value.is_boolean()) damaged("a flag is no boolean");
  return value.get<bool>();
}

bool TokenJson::is_one(const char* name) const {
  return member(name) == 1;
}

std::vector<int> TokenJson::keyslots(const char* name) const {
  const Json& list = member(name);
  if (!list.is_array() || list.size() > max_keyslot + 1) damaged("the keyslots are no list");
  std::vector<int> slots;
  for (const Json& slot : list) {
    if (!slot.is_string()) damaged("a keyslot is no string");
    const auto number = keyslot_number(slot.get_ref<const std::string&>());
    if (!number) damaged("a keyslot has no number");
    slots.push_back(*number);
  }
  return slots;
}

std::string TokenJson::object(const char* name) const {
  const Json& value = member(name);
  if (!value.is_object()) damaged("a member is no object");
  return value.dump();
}

std::vector<TokenJson> TokenJson::objects(const char* name, std::size_t most) const {
  const Json& list = member(name);
  if (!list.is_array() || list.size() > most) damaged("a list is none, or too long");
  std::vector<TokenJson> objects;
  for (const Json& value : list) {
    if (!value.is_object()) damaged("a member of a list is no object");
    objects.push_back(TokenJson(value, type_));
  }
  return objects;
}

nlohmann::ordered_json keyslots_json(const std::vector<int>& keyslots) {
  auto list = nlohmann::ordered_json::array();
  for (const int slot : keyslots) list.push_back(std::to_string(slot));
  return list;
}

nlohmann::ordered_json sealed_json(const std::string& sealed) {
  auto json = nlohmann::ordered_json::parse(sealed, nullptr, false);
  if (!json.is_object())
    throw Error(Code::internal, "write a token: the sealed part is no JSON object");
  return json;
}

std::string token_text(const nlohmann::ordered_json& token) {
  std::string text = token.dump();
  if (text.size() > max_token)
    throw Error(Code::internal, "write a token: {} bytes are too many", text.size());
  return text;
}

}  // namespace volseal
