#include "core/audit/note.h"

#include "core/base/error.h"

#include <fmt/format.h>
#include <systemd/sd-id128.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace volseal::audit {

namespace {

constexpr std::string_view origin_prefix = "volseal-audit/";
constexpr std::string_view dash = "\xe2\x80\x94 ";  // an em dash and a space
constexpr std::size_t max_note = 16384;
constexpr std::size_t max_name = 255;
constexpr std::size_t most_signatures = 16;
constexpr std::size_t key_id_size = 4;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= max_name &&
         std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f && c != '+'; });
}

// Up to the newline, which must be there.
std::optional<std::string_view> take_line(std::string_view& rest) {
  const auto newline = rest.find('\n');
  if (newline == std::string_view::npos) return std::nullopt;
  const std::string_view line = rest.substr(0, newline);
  rest.remove_prefix(newline + 1);
  return line;
}

std::optional<std::uint64_t> parse_size_line(std::string_view text) {
  std::uint64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return size;
}

std::optional<Note::Signature> parse_signature(std::string_view line) {
  if (!line.starts_with(dash)) return std::nullopt;
  line.remove_prefix(dash.size());
  const auto space = line.find(' ');
  if (space == std::string_view::npos || !is_name(line.substr(0, space))) return std::nullopt;
  const auto bytes = from_base64(line.substr(space + 1));
  if (!bytes || bytes->size() <= key_id_size) return std::nullopt;
  const auto split = bytes->begin() + key_id_size;
  return Note::Signature{.name = std::string(line.substr(0, space)),
                         .key_id = {bytes->begin(), split},
                         .bytes = {split, bytes->end()}};
}

}  // namespace

std::string origin_of(std::string_view machine, std::string_view log) {
  return fmt::format("{}{}/{}", origin_prefix, machine, log);
}

std::optional<Origin> parse_origin(std::string_view origin) {
  if (!origin.starts_with(origin_prefix)) return std::nullopt;
  origin.remove_prefix(origin_prefix.size());
  const auto slash = origin.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  return Origin{.machine = std::string(origin.substr(0, slash)),
                .log = std::string(origin.substr(slash + 1))};
}

std::string this_machine() {
  constexpr sd_id128_t volseal_audit = {{0x2f, 0x5d, 0x0e, 0x93, 0xb1, 0x7c, 0x4a, 0x60, 0x9a, 0x44,
                                         0xd1, 0x28, 0x6e, 0xf7, 0x03, 0xbc}};
  sd_id128_t id{};
  if (::sd_id128_get_machine_app_specific(volseal_audit, &id) < 0) return "none";
  return to_hex(id.bytes);
}

std::string text_of(const Checkpoint& checkpoint) {
  return fmt::format("{}\n{}\n{}\n", checkpoint.origin, checkpoint.size,
                     to_base64(checkpoint.root));
}

std::optional<Note> parse_note(std::string_view text) {
  if (text.size() > max_note) return std::nullopt;
  Note note;
  const auto origin = take_line(text);
  const auto size = take_line(text);
  const auto root = take_line(text);
  const auto empty = take_line(text);
  if (!origin || !size || !root || !empty || !empty->empty() || !is_name(*origin))
    return std::nullopt;
  const auto number = parse_size_line(*size);
  const auto hash = from_base64(*root);
  if (!number || !hash || hash->size() != sizeof(Hash)) return std::nullopt;
  note.checkpoint.origin = *origin;
  note.checkpoint.size = *number;
  std::ranges::copy(*hash, note.checkpoint.root.begin());
  while (!text.empty()) {
    const auto line = take_line(text);
    auto signature = line ? parse_signature(*line) : std::nullopt;
    if (!signature || note.signatures.size() == most_signatures) return std::nullopt;
    note.signatures.push_back(*std::move(signature));
  }
  if (note.signatures.empty()) return std::nullopt;
  return note;
}

}  // namespace volseal::audit
