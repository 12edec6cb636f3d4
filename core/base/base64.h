// Standard padded base64 (RFC 4648 section 4) and lowercase hexadecimal for what is not secret.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

using Bytes = std::vector<std::uint8_t>;

std::string to_base64(std::span<const std::uint8_t> bytes);
// Nothing for text that is not exactly what to_base64 writes (no white space, no missing padding).
std::optional<Bytes> from_base64(std::string_view text);

std::string to_hex(std::span<const std::uint8_t> bytes);
// Nothing for an odd length or a character that is no hexadecimal digit; both cases are read.
std::optional<Bytes> from_hex(std::string_view text);

}  // namespace volseal
