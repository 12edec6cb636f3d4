// CBOR (RFC 8949) as CTAP uses it, by libcbor: bytes to values and back.
#pragma once

#include "core/base/base64.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace volseal::test::cbor {

struct Value;
using List = std::vector<Value>;

// In the order in which it was read or is to be written; CTAP2's canonical order is the writer's.
struct Map {
  List keys;
  List values;

  Map& add(Value key, Value value);
  // Nothing where there is no such key.
  const Value* at(std::int64_t key) const;
  const Value* at(std::string_view key) const;
};

struct Value {
  std::variant<std::monostate, bool, std::int64_t, Bytes, std::string, List, Map> of;

  // Throw std::bad_variant_access where it is something else.
  bool boolean() const { return std::get<bool>(of); }
  std::int64_t number() const { return std::get<std::int64_t>(of); }
  const Bytes& bytes() const { return std::get<Bytes>(of); }
  const std::string& text() const { return std::get<std::string>(of); }
  const List& list() const { return std::get<List>(of); }
  const Map& map() const { return std::get<Map>(of); }
};

Value value(bool boolean);
Value value(int number);
Value value(Bytes bytes);
Value value(const char* text);
Value value(List list);
Value value(Map map);

// One item and nothing behind it; nothing for what is no CBOR or of a type that CTAP has not.
std::optional<Value> decode(std::span<const std::uint8_t> bytes);
Bytes encode(const Value& value);

}  // namespace volseal::test::cbor
