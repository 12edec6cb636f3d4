#include "core/report/markup.h"

#include "core/base/base64.h"
#include "core/base/error.h"
#include "core/base/escape.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <ctime>

namespace volseal::report {

namespace {

Bytes digest_of(std::string_view text, const EVP_MD* algorithm) {
  Bytes digest(EVP_MAX_MD_SIZE);
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, algorithm, nullptr) != 1)
    throw Error(Code::internal, "hash a part of the report: libcrypto refused");
  digest.resize(size);
  return digest;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

std::string plain(std::string_view text) {
  constexpr std::size_t longest = 4096;
  return escaped(text, longest);
}

std::string markup(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string plain_markup(std::string_view text) {
  return markup(plain(text));
}

std::string joined(const std::vector<std::string>& list, std::string_view between) {
  std::string out;
  for (const std::string& text : list) {
    if (!out.empty()) out += between;
    out += plain(text);
  }
  return out;
}

std::string joined_reasons(const std::vector<std::string>& reasons, std::string_view between) {
  std::string out;
  for (const std::string& reason : reasons) {
    if (!out.empty()) out += between;
    out += on_one_line(reason);
  }
  return out;
}

bool is_time(std::string_view text) {
  constexpr std::string_view with_millis = "0000-00-00T00:00:00.000Z";
  constexpr std::string_view without = "0000-00-00T00:00:00Z";
  const std::string_view form = text.size() == without.size() ? without : with_millis;
  if (text.size() != form.size()) return false;
  for (std::size_t i = 0; i < form.size(); ++i) {
    if (form[i] == '0' ? !is_digit(text[i]) : text[i] != form[i]) return false;
  }
  const auto two = [&](std::size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
  return two(5) >= 1 && two(5) <= 12 && two(8) >= 1 && two(8) <= 31 && two(11) <= 23 &&
         two(14) <= 59 && two(17) <= 60;
}

double seconds_of(std::string_view time) {
  if (!is_time(time)) return 0;
  const std::string text(time);
  std::tm parts{};
  if (::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr) return 0;
  return static_cast<double>(::timegm(&parts));
}

std::string uuid_of(std::string_view name) {
  // Drawn once, at random.
  static constexpr std::array<std::uint8_t, 16> name_space = {0x6b, 0x1f, 0x0d, 0x52, 0x8c, 0xe4,
                                                              0x4d, 0x3a, 0x9b, 0x77, 0x25, 0xc0,
                                                              0x7e, 0x91, 0xaa, 0x38};
  std::string text(reinterpret_cast<const char*>(name_space.data()), name_space.size());
  text += name;
  // Names, not signatures: the standard says SHA-1.
  Bytes digest = digest_of(text, EVP_sha1());
  digest.resize(16);
  digest[6] = static_cast<std::uint8_t>((digest[6] & 0x0fU) | 0x50U);
  digest[8] = static_cast<std::uint8_t>((digest[8] & 0x3fU) | 0x80U);
  std::string hex = to_hex(digest);
  for (const std::size_t at : {20U, 16U, 12U, 8U}) hex.insert(at, "-");
  return hex;
}

std::string digest_base64(std::string_view text) {
  return to_base64(digest_of(text, EVP_sha256()));
}

}  // namespace volseal::report
