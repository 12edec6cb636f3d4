// volseal watch: tells what is attached, changed or used without being covered, as it happens.
#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/audit/audit.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/discover/discover.h"
#include "core/watch/watcher.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace volseal {

namespace {

struct WatchOptions {
  bool once = false;
  bool json = false;
};

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
                     {"action", finding.action}}};
}

class Watchman {
 public:
  Watchman(const Options& options, const WatchOptions& watch)
      : options_(options),
        watch_(watch),
        policy_(load_policy(options.policy)),
        log_(audit_log_of(options), "watch") {}

  int once() {
    Ledger ledger;
    Sighting now = look({});
    const int status = now.coverage.exit_status();
    std::vector<Finding> findings = ledger.start(std::move(now));
    stamp(findings);
    tell(findings);
    if (findings.empty() && !watch_.json) log::note("nothing that would need attention");
    return status;
  }

  int until_stopped() {
    note("watch.start", {{"policy", policy_.source}, {"policy_digest", policy_.digest}});
    const WatchSummary summary = watch({
        .look = [&](const Hint& hint) { return look(hint); },
        .tell = [&](std::span<const Finding> findings) { tell(findings); },
        .reload = [&] { reload(); },
    });
    note("watch.stop", {{"events", std::to_string(summary.events)},
                        {"looks", std::to_string(summary.looks)},
                        {"findings", std::to_string(summary.findings)},
                        {"blind_ms", std::to_string(summary.blind_ms)}});
    return exit_status::good;
  }

 private:
  Sighting look(const Hint& hint) const {
    Sighting now;
    // Not even for a moment: who has just plugged in a disk may be about to mount or format it.
    now.graph = scan({.claim = false, .known = hint.known, .again = hint.again});
    now.coverage = judge(now.graph, policy_, utc_now().substr(0, 10));
    // Devices come and go; the rest is for the report.
    std::erase_if(now.coverage.volumes,
                  [](const VolumeVerdict& one) { return one.subject != Subject::device; });
    now.ports = ports_in_sysfs(now.graph);
    return now;
  }

  void reload() {
    policy_ = load_policy(options_.policy);
    note("watch.reload", {{"policy", policy_.source}, {"policy_digest", policy_.digest}});
  }

  // Neither a full disk nor a reader that went away stops the watch; each is said on the other way.
  void tell(std::span<const Finding> findings) {
    std::string lines;
    std::vector<Event> events;
    events.reserve(findings.size());
    for (const Finding& finding : findings) {
      lines += watch_.json ? to_json_line(finding) : finding.time + ' ' + to_text(finding);
      lines += '\n';
      events.push_back(event_of(finding));
    }
    try {
      print_out(lines);
    } catch (const Error& error) {
      log::warning("{}", error.what());
    }
    record(events);
  }

  void note(const std::string& action, std::map<std::string, std::string> detail) {
    const Event event{.action = action, .detail = std::move(detail)};
    record({&event, 1});
  }

  void record(std::span<const Event> events) {
    try {
      log_.record_all(events);
    } catch (const Error& error) {
      log::warning("not recorded: {}", error.what());
    }
  }

  const Options& options_;
  const WatchOptions& watch_;
  Policy policy_;
  AuditLog log_;
};

}  // namespace

void add_watch(CLI::App& app, Session& session) {
  auto options = std::make_shared<WatchOptions>();
  CLI::App* verb = app.add_subcommand(
      "watch", "tell what is attached, changed or used without being covered, as it happens");
  verb->add_flag("--once", options->once,
                 "look once, tell what is not covered, and end as check does");
  verb->add_flag("--json", options->json, "one JSON object a line (schema volseal-finding/1)");
  verb->callback([options, &session] {
    Watchman watchman(session.options, *options);
    session.status = options->once ? watchman.once() : watchman.until_stopped();
  });
}

}  // namespace volseal
