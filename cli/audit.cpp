// volseal audit: the log of what was done, and whether it is what was written.
#include "cli/audit_checkpoint.h"
#include "cli/audit_show.h"
#include "cli/audit_verify.h"
#include "cli/verb.h"

#include <memory>
#include <string>

namespace volseal {

namespace {

void add_selection(CLI::App* verb, AuditSelection& selection) {
  verb->add_option("--since", selection.since,
                   "from then on: 2026-01-31, 2026-01-31T12:30 (UTC), or an age: 45m, 2h, 7d");
  verb->add_option("--volume", selection.volume, "its path or LUKS UUID; a glob");
  verb->add_option("--group", selection.group, "a glob");
  verb->add_option("--tenant", selection.tenant, "whose the group was then; a glob");
  verb->add_option("--environment", selection.environment, "the group's, then; a glob");
  verb->add_option("--action", selection.action, "such as 'unlock' or 'keyslot.*'; a glob");
  verb->add_option("--who", selection.who,
                   "a user who logged in, by name or number; a unit, terminal or remote host: a "
                   "glob");
}

void add_verify(CLI::App& audit, Session& session) {
  CLI::App* verb = audit.add_subcommand(
      "verify", "whether the log is what was written, and the first line that is not");
  auto options = std::make_shared<AuditVerify>();
  verb->add_option("--log", options->log,
                   "another log: its audit.log, the folder 'audit' beside it");
  verb->add_option("--key", options->key,
                   "a file with the key that 'audit key' printed on the log's machine");
  verb->add_option("--checkpoint", options->checkpoints,
                   "a file with a checkpoint that was kept elsewhere; several times");
  verb->add_flag("--json", options->json, "as JSON");
  verb->callback([options, &session] { session.status = verify_audit(*options, session.options); });
}

void add_checkpoint(CLI::App& audit, Session& session) {
  CLI::App* verb = audit.add_subcommand(
      "checkpoint", "sign what the log has by now, anchor and hand it out; the timer does this");
  auto how = std::make_shared<AnchorOptions>();
  verb->add_flag("--now", how->now,
                 "into the TPM however long ago the last one was, as at shutdown");
  verb->add_option("--new-anchor", how->renew,
                   "give up what the TPM holds, for this reason, which is recorded");
  verb->callback([how, &session] { session.status = checkpoint_audit(*how, session); });
  CLI::App* key = audit.add_subcommand("key", "the public key that verifies checkpoints");
  key->callback([&session] { print_audit_key(session.options); });
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
  add_checkpoint(*verb, session);
  add_show(*verb, session);
  add_export(*verb, session);
}

}  // namespace volseal
