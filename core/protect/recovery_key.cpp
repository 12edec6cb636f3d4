#include "core/protect/recovery_key.h"

#include <fmt/format.h>

#include <string_view>

namespace volseal {

namespace {

constexpr std::string_view modhex = "cbdefghijklnrtuv";
constexpr std::size_t digits = 64;
constexpr std::size_t group = 8;
constexpr std::size_t length = digits + digits / group - 1;

bool dash_at(std::size_t position) {
  return position % (group + 1) == group;
}

}  // namespace

Secret new_recovery_key() {
  const Secret random = Secret::random(digits / 2);
  Secret key(length);
  std::size_t digit = 0;
  for (std::size_t i = 0; i < length; ++i) {
    if (dash_at(i)) {
      key.bytes()[i] = '-';
      continue;
    }
    const unsigned byte = random.bytes()[digit / 2];
    key.bytes()[i] = static_cast<std::uint8_t>(modhex[digit % 2 == 0 ? byte >> 4U : byte & 0xfU]);
    ++digit;
  }
  return key;
}

std::optional<Secret> normalized_recovery_key(const Secret& typed) {
  Secret key(length);
  std::size_t at = 0;
  for (const char c : typed.view()) {
    if (c == '-' || c == ' ' || c == '\t' || c == '\r' || c == '\n') continue;
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (modhex.find(lower) == std::string_view::npos) return std::nullopt;
    if (at < length && dash_at(at)) key.bytes()[at++] = '-';
    if (at == length) return std::nullopt;
    key.bytes()[at++] = static_cast<std::uint8_t>(lower);
  }
  if (at != length) return std::nullopt;
  return key;
}

std::string recovery_token_json(int keyslot) {
  return fmt::format(R"({{"type":"systemd-recovery","keyslots":["{}"]}})", keyslot);
}

}  // namespace volseal
