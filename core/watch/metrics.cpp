#include "core/watch/metrics.h"

#include <fmt/format.h>

#include <array>

namespace volseal {

namespace {

// A counter's sample has _total behind its name, its family has not.
void counter(std::string& out, std::string_view name, std::string_view help,
             std::string_view value) {
  out += fmt::format("# TYPE {0} counter\n# HELP {0} {1}\n{0}_total {2}\n", name, help, value);
}

void gauge(std::string& out, std::string_view name, std::string_view help, std::string_view value) {
  out += fmt::format("# TYPE {0} gauge\n# HELP {0} {1}\n{0} {2}\n", name, help, value);
}

constexpr std::array happenings = {Happening::present, Happening::attached, Happening::changed,
                                   Happening::removed, Happening::vanished, Happening::blind,
                                   Happening::repeated};
constexpr std::array verdicts = {Verdict::covered,    Verdict::exempt,     Verdict::covered_weak,
                                 Verdict::suspended,  Verdict::converting, Verdict::unknown,
                                 Verdict::not_covered};

template <typename Map, typename Key>
std::uint64_t count_in(const Map& map, Key key) {
  const auto at = map.find(key);
  return at == map.end() ? 0 : at->second;
}

}  // namespace

std::string openmetrics(const WatchFigures& figures) {
  const WatchSummary& summary = figures.summary;
  std::string out;
  gauge(out, "volseal_watch_seen_seconds", "When the watch was last known to be awake, since 1970.",
        fmt::format("{:.0f}", figures.now));
  counter(out, "volseal_watch_events", "Block device events of the kernel.",
          std::to_string(summary.events));
  counter(out, "volseal_watch_looks", "How often the machine was looked at.",
          std::to_string(summary.looks));
  counter(out, "volseal_watch_blind_intervals", "How often events were lost.",
          std::to_string(summary.blinds));
  counter(out, "volseal_watch_blind_seconds", "How long, until everything was looked at again.",
          fmt::format("{:.3f}", static_cast<double>(summary.blind_ms) / 1000));
  counter(out, "volseal_watch_quarantines_broken", "Quarantines that were broken by hand.",
          std::to_string(figures.broken));
  counter(out, "volseal_watch_not_told", "Findings that the command did not get.",
          std::to_string(figures.not_told));
  gauge(out, "volseal_watch_quarantined", "Devices in quarantine.",
        std::to_string(figures.quarantined));
  out += "# TYPE volseal_watch_findings counter\n# HELP volseal_watch_findings Findings by kind.\n";
  for (const Happening what : happenings)
    out += fmt::format("volseal_watch_findings_total{{what=\"{}\"}} {}\n", to_string(what),
                       count_in(figures.findings, what));
  out += "# TYPE volseal_watch_volumes gauge\n# HELP volseal_watch_volumes Volumes by verdict.\n";
  for (const Verdict verdict : verdicts)
    out += fmt::format("volseal_watch_volumes{{verdict=\"{}\"}} {}\n", to_string(verdict),
                       count_in(figures.volumes, verdict));
  return out + "# EOF\n";
}

}  // namespace volseal
