// A LUKS2 token's JSON, read as hostile input. For this folder's parsers alone.
#pragma once

#include "core/base/base64.h"
#include "core/protect/fido2_token.h"

#include <nlohmann/json.hpp>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// Every call throws Error{damaged}, naming the token's type, where what it asks for is not there,
// of another type, or of another size.
class TokenJson {
 public:
  // At most 12 KiB of text: one object, whose "type" is `type`, no member of it or below twice.
  TokenJson(std::string_view text, const char* type);

  // It has no other members.
  void only(std::initializer_list<std::string_view> names) const;
  bool has(const char* name) const { return json_.contains(name); }
  std::string text(const char* name, std::size_t longest) const;
  Bytes bytes(const char* name, std::size_t least, std::size_t most) const;
  std::optional<bool> flag(const char* name) const;
  bool is_one(const char* name) const;  // the number 1
  // Decimal strings (LUKS2 on-disk format 1.1, section 3.6), 0 to 31.
  std::vector<int> keyslots(const char* name) const;
  // An object as text, in its order.
  std::string object(const char* name) const;
  std::vector<TokenJson> objects(const char* name, std::size_t most) const;

  [[noreturn]] void damaged(const char* what) const;

 private:
  using Json = nlohmann::ordered_json;
  TokenJson(Json json, const char* type) : json_(std::move(json)), type_(type) {}
  const Json& member(const char* name) const;

  Json json_;
  const char* type_;
};

// As LUKS2 writes them.
nlohmann::ordered_json keyslots_json(const std::vector<int>& keyslots);
// GroupToken::sealed as it stands in a token. Throws Error{internal} where it is no object.
nlohmann::ordered_json sealed_json(const std::string& sealed);
// Throws Error{internal} where it would be longer than TokenJson reads.
std::string token_text(const nlohmann::ordered_json& token);

// The members of a systemd-fido2 token, but for its keyslots, wherever they stand.
Fido2Token fido2_members(const TokenJson& json);
void put_fido2_members(nlohmann::ordered_json& json, const Fido2Token& token);

}  // namespace volseal
