#include "core/audit/rotation.h"

#include "core/audit/record.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace volseal::audit {

namespace {

// A detail takes 1 KiB: sixteen peaks of 64 digits.
constexpr std::size_t peaks_a_detail = std::size_t{16} * 64;
constexpr std::size_t log_id_size = 32;

std::optional<std::uint64_t> number_in_detail(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::map<std::string, std::string> detail_of(const ClosedBefore& closed, Hasher& hasher) {
  std::map<std::string, std::string> detail = {
      {"file", std::to_string(closed.number)},
      {"bytes", std::to_string(closed.bytes)},
      {"lines", std::to_string(closed.tree.size())},
      {"root", hex(closed.tree.root(hasher))},
      {"log", closed.log},
  };
  const std::string peaks = closed.tree.peaks();
  for (std::size_t at = 0; at < peaks.size(); at += peaks_a_detail)
    detail[fmt::format("peaks{}", at / peaks_a_detail)] = peaks.substr(at, peaks_a_detail);
  return detail;
}

std::optional<ClosedBefore> closed_before(const AuditRecord& record) {
  if (record.event.action != rotated) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto at = record.event.detail.find(key);
    return at == record.event.detail.end() ? std::string() : at->second;
  };
  const auto number = number_in_detail(text("file"));
  const auto bytes = number_in_detail(text("bytes"));
  const auto lines = number_in_detail(text("lines"));
  if (!number || !bytes || !lines || text("log").size() != log_id_size) return std::nullopt;
  auto tree = Tree::from(*lines, text("peaks0") + text("peaks1") + text("peaks2") + text("peaks3"));
  Hasher hasher;
  if (!tree || hex(tree->root(hasher)) != text("root")) return std::nullopt;
  return ClosedBefore{
      .number = *number, .bytes = *bytes, .tree = *std::move(tree), .log = text("log")};
}

std::string id_of(const Hash& first_line) {
  return hex(first_line).substr(0, log_id_size);
}

}  // namespace volseal::audit
