#include "core/operators/request.h"

#include <algorithm>

namespace volseal {

namespace {

constexpr std::string_view asks_to_unlock = "volseal-operator/1 unlock ";
constexpr std::size_t longest_volume = 256;
constexpr std::string_view devices = "/dev/";
constexpr std::size_t uuid_size = 36;

bool is_volume_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("/_.:+@=-").contains(c);
}

bool is_uuid(std::string_view text) {
  if (text.size() != uuid_size) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (dash ? c != '-' : !digit) return false;
  }
  return true;
}

bool is_device(std::string_view text) {
  return text.starts_with(devices) && text.size() > devices.size() && !text.ends_with('/') &&
         !text.contains("//") && !text.contains("/.");
}

}  // namespace

std::optional<OperatorRequest> parse_operator_request(std::string_view text) {
  if (text.size() > OperatorRequest::max_text || !text.starts_with(asks_to_unlock) ||
      !text.ends_with('\n'))
    return std::nullopt;
  text.remove_prefix(asks_to_unlock.size());
  text.remove_suffix(1);
  if (text.size() > longest_volume || !std::ranges::all_of(text, is_volume_character) ||
      (!is_uuid(text) && !is_device(text)))
    return std::nullopt;
  return OperatorRequest{.volume = std::string(text)};
}

std::string to_text(const OperatorRequest& request) {
  return std::string(asks_to_unlock) + request.volume + "\n";
}

}  // namespace volseal
