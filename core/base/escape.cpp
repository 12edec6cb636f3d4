#include "core/base/escape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace volseal {

namespace {

struct CodePoint {
  std::uint32_t value = 0;
  std::size_t length = 0;  // 0: not UTF-8
};

// Unicode 15, table 3-7: well-formed sequences only (no surrogates, nothing overlong).
CodePoint decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {.value = first, .length = 1};
  std::size_t length = 0;
  std::uint32_t value = 0;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
    value = first & 0x1fU;
  } else if ((first & 0xf0U) == 0xe0) {
    length = 3;
    value = first & 0x0fU;
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    value = first & 0x07U;
  }
  if (length == 0 || text.size() < length) return {};
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return {};
    value = value << 6U | (byte(i) & 0x3fU);
  }
  const bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  if (overlong || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
  return {.value = value, .length = length};
}

bool shown_as_is(std::uint32_t c) {
  if (c < 0x20 || c == '\\' || (c >= 0x7f && c < 0xa0)) return false;
  if (c == 0xad || c == 0x61c || c == 0xfeff) return false;
  if (c >= 0x200b && c <= 0x200f) return false;  // zero width, direction marks
  if (c >= 0x2028 && c <= 0x202e) return false;  // separators, direction overrides
  if (c >= 0x2060 && c <= 0x206f) return false;  // invisible operators, isolates
  if (c >= 0xe000 && c <= 0xf8ff) return false;  // private use
  return c < 0xe0000;                            // tags and planes beyond
}

}  // namespace

std::string escaped(std::string_view text, std::size_t limit) {
  const bool cut = text.size() > limit;
  text = text.substr(0, limit);
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = decode(text);
    const std::size_t length = std::max<std::size_t>(point.length, 1);
    if (point.length != 0 && shown_as_is(point.value)) {
      out += text.substr(0, length);
    } else {
      for (const char c : text.substr(0, length)) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
    }
    text.remove_prefix(length);
  }
  if (cut) out += "...";
  return out;
}

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80; }));
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = decode(text);
    if (point.length == 0) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
    } else {
      out += text.substr(0, point.length);
      text.remove_prefix(point.length);
    }
  }
  return out;
}

}  // namespace volseal
