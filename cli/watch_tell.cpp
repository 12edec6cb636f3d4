#include "cli/watch_tell.h"

#include "cli/output.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"

#include <fmt/format.h>

#include <chrono>
#include <vector>

namespace volseal {

namespace {

constexpr std::int64_t account_pause_ms = 1'000;

std::string from_of(const Finding& finding) {
  std::string text;
  for (const Origin& origin : finding.from) {
    text += fmt::format("{}{} {} {} {} {} {}", text.empty() ? "" : "; ", origin.name, origin.bus,
                        origin.port, origin.vendor, origin.model, origin.serial);
  }
  return text;
}

Event event_of(const Finding& finding) {
  const VolumeVerdict& volume = finding.volume;
  const bool has_verdict = finding.what != Happening::blind && finding.what != Happening::removed;
  return {.action = "watch.finding",
          .outcome = std::string(has_verdict ? to_string(volume.verdict) : to_string(finding.what)),
          .volume = volume.path,
          .luks_uuid = volume.luks_uuid,
          .group = volume.group,
          .detail = {{"summary", to_text(finding)},
                     {"what", std::string(to_string(finding.what))},
                     {"name", volume.name},
                     {"verdict", std::string(has_verdict ? to_string(volume.verdict) : "")},
                     {"noticed_by", finding.noticed_by},
                     {"seqnum", std::to_string(finding.seqnum)},
                     {"diskseq", std::to_string(finding.diskseq)},
                     {"size", std::to_string(volume.size)},
                     {"content", volume.content},
                     {"label", finding.label},
                     {"uuid", finding.uuid},
                     {"from", from_of(finding)},
                     {"changes", fmt::format("{}", fmt::join(finding.changes, "; "))},
                     {"reasons", fmt::format("{}", fmt::join(volume.reasons, "; "))},
                     {"rule", volume.rule},
                     {"watch_rule", finding.watch_rule},
                     {"why", finding.why},
                     {"action", finding.action}}};
}

}  // namespace

void WatchTeller::tell(std::span<const Finding> findings) {
  std::string lines;
  std::vector<Event> events;
  events.reserve(findings.size());
  for (const Finding& finding : findings) {
    lines += json_ ? to_json_line(finding) : finding.time + ' ' + to_text(finding);
    lines += '\n';
    events.push_back(event_of(finding));
    ++findings_[finding.what];
  }
  try {
    print_out(lines);
  } catch (const Error& error) {
    log::warning("{}", error.what());
  }
  record(events);
  tell_command(findings);
  if (wall_) tell_everybody(findings);
}

// journald shows emergencies to everybody who is logged in: no right to write to terminals is
// needed here.
void WatchTeller::tell_everybody(std::span<const Finding> findings) {
  constexpr int emergency = 0;
  for (const Finding& finding : findings) {
    if (needs_attention(finding)) log::write_line(emergency, to_text(finding));
  }
}

void WatchTeller::tell_command(std::span<const Finding> findings) {
  if (policy_.command.empty()) return;
  std::string input;
  for (const Finding& finding : findings) input += to_json_line(finding) + '\n';
  if (errands_.add({.argv = policy_.command,
                    .input = std::move(input),
                    .timeout = std::chrono::seconds(policy_.timeout)}))
    return;
  if (not_told_ == 0)
    log::warning("{} is too slow: some findings are not given to it",
                 escaped(policy_.command.front()));
  not_told_ += findings.size();
}

void WatchTeller::note(const std::string& action, std::map<std::string, std::string> detail) {
  const Event event{.action = action, .detail = std::move(detail)};
  record({&event, 1});
}

void WatchTeller::record(std::span<const Event> events) const {
  try {
    log_.record_all(events);
  } catch (const Error& error) {
    log::warning("not recorded: {}", error.what());
  }
}

void WatchTeller::account(WatchFigures figures) {
  const std::int64_t now = since_boot().count();
  if (policy_.metrics.empty() || now - accounted_ms_ < account_pause_ms) return;
  accounted_ms_ = now;
  figures.findings = findings_;
  figures.not_told = not_told_;
  figures.now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  try {
    constexpr mode_t for_everybody = 0644;
    write_file(policy_.metrics, openmetrics(figures), for_everybody);
  } catch (const Error& error) {
    log::warning("{}", error.what());
  }
}

}  // namespace volseal
