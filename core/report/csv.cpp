// RFC 4180, one record a volume.
#include "core/report/csv.h"

#include "core/base/escape.h"
#include "core/report/markup.h"
#include "core/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace volseal {

namespace {

// Spreadsheets take a cell that begins like this for a formula, quoted or not; the full-width forms
// too, in some locales. An apostrophe makes it text.
bool begins_a_formula(std::string_view text) {
  static constexpr std::array<std::string_view, 11> beginnings = {
      "=",           "+", "-", "@", "\t", "\r", "|", "\xef\xbc\x9d", "\xef\xbc\x8b", "\xef\xbc\x8d",
      "\xef\xbc\xa0"};
  const auto at = text.find_first_not_of(' ');
  const std::string_view rest = at == std::string_view::npos ? "" : text.substr(at);
  return std::ranges::any_of(beginnings,
                             [&](std::string_view one) { return rest.starts_with(one); });
}

std::string csv_cell(std::string_view text) {
  std::string out = "\"";
  if (begins_a_formula(text)) out += '\'';
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::string controls_of(const Report& report, std::size_t volume,
                        std::vector<std::size_t> ControlResult::* list) {
  std::string out;
  for (const ControlResult& result : report.controls) {
    if (!std::ranges::binary_search(result.*list, volume)) continue;
    if (!out.empty()) out += ' ';
    out += result.control.id;
  }
  return out;
}

}  // namespace

std::string csv_record(const std::vector<std::string>& cells) {
  std::string out;
  for (const std::string& cell : cells) {
    if (!out.empty()) out += ',';
    out += csv_cell(cell);
  }
  return out + "\r\n";
}

std::string report_csv(const Report& report) {
  using report::joined;
  using report::plain;
  std::string out = csv_record({"host",
                                "taken_at",
                                "id",
                                "path",
                                "verdict",
                                "percent",
                                "content",
                                "mounts",
                                "size",
                                "cipher",
                                "key_bits",
                                "sector_size",
                                "protectors",
                                "escrows",
                                "group",
                                "tenant",
                                "environment",
                                "rule",
                                "luks_uuid",
                                "subject",
                                "integrity",
                                "encrypted_bytes",
                                "converting_bytes",
                                "plaintext_bytes",
                                "unknown_bytes",
                                "opened",
                                "header_backup",
                                "recovery_proven",
                                "until",
                                "reasons",
                                "controls",
                                "controls_against",
                                "policy_group",
                                "only"});
  for (std::size_t at = 0; at < report.coverage.volumes.size(); ++at) {
    const VolumeVerdict& volume = report.coverage.volumes[at];
    const bool converting = volume.verdict == Verdict::converting;
    out += csv_record({plain(report.coverage.host),
                       plain(report.coverage.taken_at),
                       plain(report.ids[at]),
                       plain(volume.path),
                       std::string(to_string(volume.verdict)),
                       converting ? fmt::format("{:.1f}", volume.percent) : "",
                       on_one_line(volume.content),
                       joined(volume.mounts, " "),
                       std::to_string(volume.size),
                       plain(volume.cipher),
                       std::to_string(volume.key_bits),
                       std::to_string(volume.sector_size),
                       joined(volume.protectors, " "),
                       std::to_string(volume.escrows.size()),
                       plain(volume.group),
                       plain(volume.tenant),
                       plain(volume.environment),
                       plain(volume.rule),
                       plain(volume.luks_uuid),
                       std::string(to_string(volume.subject)),
                       plain(volume.integrity),
                       std::to_string(volume.bytes.encrypted),
                       std::to_string(volume.bytes.converting),
                       std::to_string(volume.bytes.plaintext),
                       std::to_string(volume.bytes.unknown),
                       plain(volume.opened),
                       plain(volume.header_backup),
                       plain(volume.recovery_proven),
                       plain(volume.until),
                       report::joined_reasons(volume.reasons, "; "),
                       controls_of(report, at, &ControlResult::supporting),
                       controls_of(report, at, &ControlResult::contradicting),
                       plain(volume.policy_group),
                       filter_words(report.coverage.filter)});
  }
  return out;
}

}  // namespace volseal
