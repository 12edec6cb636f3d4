// JSON from hostile places: every key must be known, present once, of the right type and size.
#pragma once

#include "core/base/base64.h"
#include "core/base/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

class StrictJson {
 public:
  // Throws Error{damaged}, "WHAT: why".
  static nlohmann::json parse(std::string_view text, std::size_t limit, const std::string& what) {
    if (text.size() > limit) throw Error(Code::damaged, "{}: larger than {} bytes", what, limit);
    std::vector<std::set<std::string>> keys;
    bool twice = false;
    const auto callback = [&](int, nlohmann::json::parse_event_t event, nlohmann::json& value) {
      using ParseEvent = nlohmann::json::parse_event_t;
      if (event == ParseEvent::object_start) keys.emplace_back();
      if (event == ParseEvent::object_end && !keys.empty()) keys.pop_back();
      if (event == ParseEvent::key && !keys.empty())
        twice |= !keys.back().insert(value.get<std::string>()).second;
      return true;
    };
    nlohmann::json result = nlohmann::json::parse(text, callback, false);
    if (result.is_discarded()) throw Error(Code::damaged, "{}: not JSON", what);
    if (twice) throw Error(Code::damaged, "{}: a key is there twice", what);
    return result;
  }

  StrictJson(const nlohmann::json& object, std::string what)
      : object_(object), what_(std::move(what)) {
    if (!object_.is_object()) fail("not an object");
  }

  bool has(const char* key) {
    if (!object_.contains(key)) return false;
    seen_.insert(key);
    return true;
  }

  const nlohmann::json& at(const char* key) {
    if (!has(key)) fail(fmt::format("\"{}\" is missing", key));
    return object_.at(key);
  }

  std::uint64_t number(const char* key, std::uint64_t least, std::uint64_t most) {
    return number(at(key), key, least, most);
  }

  std::uint64_t number(const nlohmann::json& value, const char* key, std::uint64_t least,
                       std::uint64_t most) {
    if (!value.is_number_unsigned()) fail(fmt::format("\"{}\" is not a whole number", key));
    const auto result = value.get<std::uint64_t>();
    if (result < least || result > most) fail(fmt::format("\"{}\" is out of range", key));
    return result;
  }

  std::string text(const char* key, std::size_t most) {
    const nlohmann::json& value = at(key);
    if (!value.is_string()) fail(fmt::format("\"{}\" is not text", key));
    auto result = value.get<std::string>();
    if (result.size() > most) fail(fmt::format("\"{}\" is too long", key));
    return result;
  }

  Bytes bytes(const char* key, std::size_t least, std::size_t most) {
    auto result = from_base64(text(key, (most + 2) / 3 * 4));
    if (!result) fail(fmt::format("\"{}\" is not base64", key));
    if (result->size() < least || result->size() > most)
      fail(fmt::format("\"{}\" has a wrong size", key));
    return *std::move(result);
  }

  const nlohmann::json& array(const char* key, std::size_t least, std::size_t most) {
    const nlohmann::json& value = at(key);
    if (!value.is_array()) fail(fmt::format("\"{}\" is not an array", key));
    if (value.size() < least || value.size() > most)
      fail(fmt::format("\"{}\" has a wrong size", key));
    return value;
  }

  // Called last: whatever was not asked for is unknown.
  void finish() const {
    for (const auto& [key, value] : object_.items()) {
      if (!seen_.contains(key)) fail("there is an unknown key");
    }
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw Error(Code::damaged, "{}: {}", what_, why);
  }

 private:
  const nlohmann::json& object_;
  std::string what_;
  std::set<std::string> seen_;
};

}  // namespace volseal
