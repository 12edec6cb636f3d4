#include "tests/support/softkey/cbor.h"

#include <cbor.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace volseal::test::cbor {

namespace {

struct Unref {
  void operator()(cbor_item_t* item) const { cbor_decref(&item); }
};
using Item = std::unique_ptr<cbor_item_t, Unref>;

constexpr int deepest = 8;

std::optional<Value> value_of(cbor_item_t* item, int depth);

std::optional<Value> list_of(cbor_item_t* item, int depth) {
  List list;
  for (std::size_t i = 0; i < cbor_array_size(item); ++i) {
    auto element = value_of(cbor_array_handle(item)[i], depth + 1);
    if (!element) return std::nullopt;
    list.push_back(std::move(*element));
  }
  return Value{std::move(list)};
}

std::optional<Value> map_of(cbor_item_t* item, int depth) {
  Map map;
  for (std::size_t i = 0; i < cbor_map_size(item); ++i) {
    auto key = value_of(cbor_map_handle(item)[i].key, depth + 1);
    auto held = value_of(cbor_map_handle(item)[i].value, depth + 1);
    if (!key || !held) return std::nullopt;
    map.add(std::move(*key), std::move(*held));
  }
  return Value{std::move(map)};
}

std::optional<Value> value_of(cbor_item_t* item, int depth) {
  if (depth > deepest) return std::nullopt;
  switch (cbor_typeof(item)) {
    case CBOR_TYPE_UINT: return Value{static_cast<std::int64_t>(cbor_get_int(item))};
    case CBOR_TYPE_NEGINT: return Value{-1 - static_cast<std::int64_t>(cbor_get_int(item))};
    case CBOR_TYPE_BYTESTRING: {
      if (!cbor_bytestring_is_definite(item)) return std::nullopt;
      const auto* data = cbor_bytestring_handle(item);
      return Value{Bytes(data, data + cbor_bytestring_length(item))};
    }
    case CBOR_TYPE_STRING: {
      if (!cbor_string_is_definite(item)) return std::nullopt;
      const auto* data = cbor_string_handle(item);
      return Value{std::string(data, data + cbor_string_length(item))};
    }
    case CBOR_TYPE_ARRAY: return list_of(item, depth);
    case CBOR_TYPE_MAP: return map_of(item, depth);
    case CBOR_TYPE_FLOAT_CTRL:
      if (cbor_is_bool(item)) return Value{cbor_get_bool(item)};
      return std::nullopt;
    case CBOR_TYPE_TAG: return std::nullopt;
  }
  return std::nullopt;
}

cbor_item_t* number_item(std::int64_t number) {
  const auto positive = static_cast<std::uint64_t>(number < 0 ? -1 - number : number);
  cbor_item_t* item = nullptr;
  // The shortest form: CTAP2's canonical encoding, and libfido2 takes no other for the keys of
  // maps.
  if (positive <= UINT8_MAX) {
    item = cbor_build_uint8(static_cast<std::uint8_t>(positive));
  } else if (positive <= UINT16_MAX) {
    item = cbor_build_uint16(static_cast<std::uint16_t>(positive));
  } else if (positive <= UINT32_MAX) {
    item = cbor_build_uint32(static_cast<std::uint32_t>(positive));
  } else {
    item = cbor_build_uint64(positive);
  }
  if (item != nullptr && number < 0) cbor_mark_negint(item);
  return item;
}

Item item_of(const Value& value) {
  const auto build = [](const auto& held) -> cbor_item_t* {
    using Held = std::decay_t<decltype(held)>;
    if constexpr (std::is_same_v<Held, std::monostate>) {
      return cbor_new_null();
    } else if constexpr (std::is_same_v<Held, bool>) {
      return cbor_build_bool(held);
    } else if constexpr (std::is_same_v<Held, std::int64_t>) {
      return number_item(held);
    } else if constexpr (std::is_same_v<Held, Bytes>) {
      return cbor_build_bytestring(held.data(), held.size());
    } else if constexpr (std::is_same_v<Held, std::string>) {
      return cbor_build_stringn(held.data(), held.size());
    } else if constexpr (std::is_same_v<Held, List>) {
      cbor_item_t* const list = cbor_new_definite_array(held.size());
      for (const Value& element : held) {
        if (!cbor_array_push(list, item_of(element).get())) throw std::bad_alloc();
      }
      return list;
    } else {
      cbor_item_t* const map = cbor_new_definite_map(held.keys.size());
      for (std::size_t i = 0; i < held.keys.size(); ++i) {
        const Item key = item_of(held.keys[i]);
        const Item element = item_of(held.values[i]);
        if (!cbor_map_add(map, {.key = key.get(), .value = element.get()})) throw std::bad_alloc();
      }
      return map;
    }
  };
  Item item(std::visit(build, value.of));
  if (!item) throw std::bad_alloc();
  return item;
}

}  // namespace

Map& Map::add(Value key, Value held) {
  keys.push_back(std::move(key));
  values.push_back(std::move(held));
  return *this;
}

const Value* Map::at(std::int64_t key) const {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto* number = std::get_if<std::int64_t>(&keys[i].of);
    if (number != nullptr && *number == key) return &values[i];
  }
  return nullptr;
}

const Value* Map::at(std::string_view key) const {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto* text = std::get_if<std::string>(&keys[i].of);
    if (text != nullptr && *text == key) return &values[i];
  }
  return nullptr;
}

Value value(bool boolean) {
  return {boolean};
}
Value value(int number) {
  return {std::int64_t{number}};
}
Value value(Bytes bytes) {
  return {std::move(bytes)};
}
Value value(const char* text) {
  return {std::string(text)};
}
Value value(List list) {
  return {std::move(list)};
}
Value value(Map map) {
  return {std::move(map)};
}

std::optional<Value> decode(std::span<const std::uint8_t> bytes) {
  cbor_load_result result{};
  const Item item(cbor_load(bytes.data(), bytes.size(), &result));
  if (!item || result.read != bytes.size()) return std::nullopt;
  return value_of(item.get(), 0);
}

Bytes encode(const Value& value) {
  const Item item = item_of(value);
  unsigned char* buffer = nullptr;
  std::size_t size = 0;
  const std::size_t written = cbor_serialize_alloc(item.get(), &buffer, &size);
  const std::unique_ptr<unsigned char, decltype(&std::free)> owner(buffer, &std::free);
  if (written == 0) throw std::bad_alloc();
  return {buffer, buffer + written};
}

}  // namespace volseal::test::cbor
