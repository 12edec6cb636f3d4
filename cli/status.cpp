// volseal status: how this boot was unlocked, and what that cost.
#include "cli/boot_log.h"
#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/recover_used.h"
#include "cli/verb.h"
#include "core/base/clock.h"
#include "core/base/escape.h"
#include "core/drill/drill.h"
#include "core/unlock/boot_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const BootReport& report) {
  const std::string how = how_opened(report);
  std::string text =
      fmt::format("this boot    {} in {} ms\n",
                  how.empty() ? "nothing was opened in the initramfs" : "unlocked by " + how,
                  (report.ended - report.began).count());
  std::string parts;
  for (const auto& [name, took] : report.parts)
    parts += fmt::format("{}{} {} ms", parts.empty() ? "" : ", ", escaped(name), took.count());
  text += fmt::format("             {}\n", parts);
  text += fmt::format("latch        {}\n", escaped(report.latch));
  if (!report.refusal.empty())
    text += fmt::format("TPM refused  {}\n", escaped(report.refusal, 512));
  for (const Attempt& attempt : report.attempts) {
    text +=
        fmt::format("{:<12} {} by {}, {} ms{}{}\n", escaped(attempt.mapping),
                    to_string(attempt.outcome), escaped(attempt.protector), attempt.took.count(),
                    attempt.reason.empty() ? "" : ": ", escaped(attempt.reason, 512));
    if (key_stays(attempt)) {
      text +=
          fmt::format("             the recovery key was used: 'volseal recover --replace {}'\n",
                      escaped(attempt.device.native()));
    }
    for (const std::string& finding : attempt.findings)
      text += fmt::format("             {}\n", escaped(finding, 512));
  }
  for (const std::string& mapping : report.missing)
    text += fmt::format("{:<12} its volume was not there\n", escaped(mapping));
  return text;
}

// What was tried last of each way in; which of them are overdue, check says.
std::string text_of(const std::vector<Drill>& drills) {
  std::string text;
  const std::string today = utc_now();
  for (const Drill& drill : drills) {
    const auto days = days_between(drill.tried, today);
    const bool opened = drill.opened == drill.tried;
    text += fmt::format("drill        {} keyslot {} ({}): {} {} days ago, by {}\n",
                        escaped(drill.volume), drill.keyslot, escaped(drill.kind),
                        opened ? "opened" : escaped(drill.outcome), days.value_or(0),
                        escaped(drill.person));
  }
  return text;
}

Json json_of(const std::vector<Drill>& drills) {
  return Json::parse(to_json(drills)).at("drills");
}

bool good(const BootReport& report) {
  return report.refusal.empty() && report.missing.empty() &&
         std::ranges::all_of(report.attempts, [](const Attempt& attempt) {
           return attempt.outcome == Outcome::opened && attempt.findings.empty();
         });
}

void status(bool json, Session& session) {
  if (::geteuid() == 0) log_boot(session);
  const auto report = read_boot_report();
  // Its folder is root's alone.
  const std::vector<Drill> drills =
      ::geteuid() == 0 ? load_drills(session.options.state) : std::vector<Drill>{};
  if (json) {
    const Json out = {{"schema", "volseal-status/1"},
                      {"boot", report ? Json::parse(to_json(*report)) : Json()},
                      {"drills", json_of(drills)}};
    print_out(out.dump(1) + "\n");
  } else {
    print_out(
        (report ? text_of(*report) : "this boot    volseal-unlock did not run in the initramfs\n") +
        text_of(drills));
  }
  session.status = !report || good(*report) ? exit_status::good : exit_status::warnings;
}

}  // namespace

void add_status(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("status", "how this boot was unlocked, and what it cost");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "as JSON");
  verb->callback([json, &session] { status(*json, session); });
}

}  // namespace volseal
