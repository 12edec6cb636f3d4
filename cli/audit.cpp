// volseal audit: the log of what was done, and whether it is what was written.
#include "cli/audit_show.h"
#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/audit/verify.h"
#include "core/base/escape.h"
#include "core/base/human.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <memory>
#include <string>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct VerifyOptions {
  bool json = false;
};

std::string place_of(const AuditFlaw& flaw) {
  const std::string file = escaped(flaw.file.native());
  return flaw.line == 0 ? file : fmt::format("{} line {}", file, flaw.line);
}

std::string text_of(const AuditVerdict& verdict, std::chrono::duration<double> took) {
  std::string text =
      fmt::format("{} events in {} lines of {} {}, {}; {:.1f} s, {:.0f} lines a second\n",
                  verdict.events, verdict.lines, verdict.files,
                  verdict.files == 1 ? "file" : "files", human_size(verdict.bytes), took.count(),
                  static_cast<double>(verdict.lines) / std::max(took.count(), 1e-6));
  for (const AuditFlaw& flaw : verdict.flaws)
    text += fmt::format("{}: {}\n", place_of(flaw), escaped(flaw.what, 512));
  if (verdict.more_flaws != 0) text += fmt::format("and {} more\n", verdict.more_flaws);
  if (verdict.torn) text += "the last line was cut off; the next event closes it\n";
  if (verdict.sound())
    text += "every line follows from the one before it\n";
  else
    text += fmt::format("NOT what was written; the first bad place: {}\n",
                        place_of(verdict.flaws.front()));
  return text;
}

Json json_of(const AuditFlaw& flaw) {
  return {{"file", to_valid_utf8(flaw.file.native())},
          {"line", flaw.line == 0 ? Json() : Json(flaw.line)},
          {"what", to_valid_utf8(flaw.what)}};
}

Json json_of(const AuditVerdict& verdict) {
  Json flaws = Json::array();
  for (const AuditFlaw& flaw : verdict.flaws) flaws.push_back(json_of(flaw));
  return {{"schema", "volseal-audit-verdict/1"},
          {"sound", verdict.sound()},
          {"first_bad", verdict.sound() ? Json() : json_of(verdict.flaws.front())},
          {"flaws", std::move(flaws)},
          {"more_flaws", verdict.more_flaws},
          {"files", verdict.files},
          {"lines", verdict.lines},
          {"events", verdict.events},
          {"bytes", verdict.bytes},
          {"last_time", to_valid_utf8(verdict.last_time)},
          {"root", verdict.root},
          {"torn", verdict.torn}};
}

int verify(const VerifyOptions& verify, const Options& options) {
  const auto begun = std::chrono::steady_clock::now();
  const AuditVerdict verdict = verify_audit_log(audit_log_of(options));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  print_out(verify.json ? json_of(verdict).dump(1) + "\n" : text_of(verdict, took));
  return verdict.sound() ? exit_status::good : exit_status::refused;
}

void add_selection(CLI::App* verb, AuditSelection& selection) {
  verb->add_option("--since", selection.since,
                   "from then on: 2026-01-31, 2026-01-31T12:30 (UTC), or an age: 45m, 2h, 7d");
  verb->add_option("--volume", selection.volume, "its path or LUKS UUID; a glob");
  verb->add_option("--group", selection.group, "a glob");
  verb->add_option("--action", selection.action, "such as 'unlock' or 'keyslot.*'; a glob");
  verb->add_option("--who", selection.who,
                   "a user who logged in, by name or number; a unit, terminal or remote host: a "
                   "glob");
}

void add_verify(CLI::App& audit, Session& session) {
  CLI::App* verb = audit.add_subcommand(
      "verify", "whether the log is what was written, and the first line that is not");
  auto options = std::make_shared<VerifyOptions>();
  verb->add_flag("--json", options->json, "as JSON");
  verb->callback([options, &session] { session.status = verify(*options, session.options); });
}

void add_show(CLI::App& audit, Session& session) {
  CLI::App* verb = audit.add_subcommand("show", "who did what, when, to which volume");
  auto options = std::make_shared<AuditShow>();
  add_selection(verb, options->selection);
  verb->add_option("--last", options->last, "so many at most, the newest; 0: all")
      ->capture_default_str();
  verb->add_flag("--json", options->json, "as JSON");
  verb->callback([options, &session] { show_audit(*options, session.options); });
}

void add_export(CLI::App& audit, Session& session) {
  CLI::App* verb = audit.add_subcommand("export", "the lines themselves, or as CSV");
  auto selection = std::make_shared<AuditSelection>();
  auto format = std::make_shared<std::string>("jsonl");
  add_selection(verb, *selection);
  verb->add_option("--format", *format, "jsonl or csv")
      ->check(CLI::IsMember({"jsonl", "csv"}))
      ->capture_default_str();
  verb->callback([selection, format, &session] {
    export_audit(*selection, *format == "csv" ? AuditFormat::csv : AuditFormat::jsonl,
                 session.options);
  });
}

}  // namespace

void add_audit(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("audit", "the log of who did what, and whether it is whole");
  verb->require_subcommand(1);
  add_verify(*verb, session);
  add_show(*verb, session);
  add_export(*verb, session);
}

}  // namespace volseal
