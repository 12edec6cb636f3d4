// volseal status: one screen of this machine, what needs attention first.
#include "core/status/status.h"

#include "cli/boot_log.h"
#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/status_of.h"
#include "cli/verb.h"
#include "core/base/clock.h"
#include "core/unlock/boot_report.h"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <memory>
#include <string>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

int status(bool json, const Session& session) {
  if (::geteuid() == 0) log_boot(session);
  const SeenStatus seen = look_at_status(session.options);
  const std::string now = utc_now();
  if (json) {
    Json out = Json::parse(to_json(seen.status, now));
    out["boot"] = seen.boot ? Json::parse(to_json(*seen.boot)) : Json();
    print_out(out.dump(1, ' ', true) + "\n");
  } else {
    print_out(to_text(seen.status, now,
                      {.columns = columns(STDOUT_FILENO), .colour = may_colour(STDOUT_FILENO)}));
  }
  return attention_of(seen.status, now).empty() ? exit_status::good : exit_status::warnings;
}

}  // namespace

void add_status(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("status", "what needs attention, and all else on one screen");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "as JSON");
  verb->footer(
      "Exit status: 0 nothing needs attention, 1 something does. Whether all is encrypted,\n"
      "'volseal check' says.");
  verb->callback([json, &session] { session.status = status(*json, session); });
}

}  // namespace volseal
