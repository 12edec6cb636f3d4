// Monitoring Plugins' guidelines: one line, then performance data.
#include "core/report/markup.h"
#include "core/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace volseal {

namespace {

// What follows the bar is performance data, and nobody's label begins it.
std::string without_bars(std::string text) {
  std::ranges::replace(text, '|', '!');
  return text;
}

std::string worst_volumes(const Report& report) {
  constexpr std::size_t named = 5;
  static constexpr std::array worst_first = {Verdict::not_covered, Verdict::converting,
                                             Verdict::unknown, Verdict::suspended,
                                             Verdict::covered_weak};
  std::string out;
  std::size_t count = 0;
  for (const Verdict verdict : worst_first) {
    for (const VolumeVerdict& volume : report.coverage.volumes) {
      if (volume.verdict != verdict) continue;
      if (++count > named) continue;
      const std::string owner = owner_words(volume.tenant, volume.environment);
      out += fmt::format("{}{}{} {}", count == 1 ? ": " : ", ", report::plain(volume.path),
                         owner.empty() ? "" : fmt::format(" ({})", owner), to_string(verdict));
    }
  }
  if (count > named) out += fmt::format(", and {} more", count - named);
  return out;
}

}  // namespace

int icinga_status(const Report& report) {
  const bool worse = report.comparison && report.comparison->worse();
  return worse ? 2 : report.coverage.exit_status();
}

std::string icinga(const Report& report) {
  static constexpr std::array words = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
  static constexpr std::array all = {Verdict::covered,    Verdict::covered_weak, Verdict::suspended,
                                     Verdict::exempt,     Verdict::converting,   Verdict::unknown,
                                     Verdict::not_covered};
  const std::vector<VolumeVerdict>& volumes = report.coverage.volumes;
  const auto count = [&](Verdict verdict) {
    return std::ranges::count(volumes, verdict, &VolumeVerdict::verdict);
  };
  const bool worse = report.comparison && report.comparison->worse();
  std::string performance;
  for (const Verdict verdict : all)
    performance += fmt::format(" {}={};;;0;{}", to_string(verdict), count(verdict), volumes.size());
  const auto good = count(Verdict::covered) + count(Verdict::exempt) +
                    count(Verdict::covered_weak) + count(Verdict::suspended);
  const std::string only = report.coverage.filter.is_all()
                               ? ""
                               : fmt::format("only {}: ", filter_words(report.coverage.filter));
  return fmt::format("VOLSEAL {} - {}{} of {} volumes covered or exempt{}{} |{}\n",
                     words.at(static_cast<std::size_t>(icinga_status(report))), without_bars(only),
                     good, volumes.size(), worse ? ", and something got worse" : "",
                     without_bars(worst_volumes(report)), performance);
}

}  // namespace volseal
