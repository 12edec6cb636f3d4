#include "cli/boot_log.h"

#include "cli/lock_trigger.h"
#include "cli/world.h"
#include "core/audit/audit.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/unlock/boot_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace volseal {

namespace {

constexpr const char* mark = "/run/volseal/boot.logged";

std::vector<Event> events_of(const BootReport& report) {
  std::vector<Event> events;
  events.reserve(report.attempts.size());
  for (const Attempt& attempt : report.attempts) {
    events.push_back({.action = "unlock",
                      .outcome = std::string(to_string(attempt.outcome)),
                      .volume = attempt.device.native(),
                      .luks_uuid = attempt.luks_uuid,
                      .group = attempt.group,
                      .detail = {{"stage", "initramfs"},
                                 {"protector", attempt.protector},
                                 {"mapping", attempt.mapping},
                                 {"reason", attempt.reason},
                                 {"findings", fmt::format("{}", fmt::join(attempt.findings, "; "))},
                                 {"milliseconds", std::to_string(attempt.took.count())}}});
  }
  events.push_back(
      {.action = "boot.unlock",
       .outcome = report.refusal.empty() ? "ok" : "refused",
       .detail = {{"opened_by", how_opened(report)},
                  {"latch", report.latch},
                  {"refusal", report.refusal},
                  {"missing", fmt::format("{}", fmt::join(report.missing, " "))},
                  {"began_ms", std::to_string(report.began.count())},
                  {"milliseconds", std::to_string((report.ended - report.began).count())}}});
  return events;
}

}  // namespace

void log_boot(const Session& session) {
  try {
    const auto report = read_boot_report();
    if (!report || std::filesystem::exists(mark)) return;
    AuditLog(audit_log_of(session.options), "boot").record_all(events_of(*report));
    write_file(mark, "");
    follow_attempts(session.options, report->attempts);
  } catch (const std::exception& error) {
    log::warning("what the initramfs did is not in the log yet: {}", error.what());
  }
}

}  // namespace volseal
