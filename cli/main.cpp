// volseal: one verb a file; see verb.h.
#include "cli/erase.h"
#include "cli/exit_status.h"
#include "cli/hints.h"
#include "cli/lock.h"
#include "cli/verb.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/base/secret.h"

#include <fmt/format.h>

#include <csignal>
#include <exception>

namespace volseal {
namespace {

int run_verb(int argc, char** argv) {
  // Secrets pass through this process: no core dump, no tracing by others.
  forbid_core_dumps();

  CLI::App app{
      "Every data volume encrypted, sealed to the TPM, recoverable with two factors, and proven "
      "so."};
  app.name("volseal");
  app.set_version_flag("--version", "volseal " VOLSEAL_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.get_formatter()->column_width(34);
  app.footer(
      "Exit status: 0 good, 1 warnings, 2 not covered, 3 undecided, 4 failed, 5 refused as "
      "unsafe,\n"
      "6 wrong secret, 7 TPM or FIDO2, 8 worse than before, 64 usage, 78 policy. More: man "
      "volseal");

  Session session;
  app.add_option("--tcti", session.options.tcti,
                 "the TPM, as a TCTI such as device:/dev/tpmrm0 or swtpm:path=SOCKET")
      ->envname("VOLSEAL_TCTI");
  app.add_option("--policy", session.options.policy, "policy file")->capture_default_str();
  app.add_option("--state", session.options.state, "folder of journals, groups and header backups")
      ->capture_default_str();
  app.add_flag("-q,--quiet", session.options.quiet, "only warnings and errors");
  app.add_flag("-v,--verbose", session.options.verbose, "say what is being done");
  app.parse_complete_callback([&] {
    log::set_level(session.options.quiet     ? log::Level::quiet
                   : session.options.verbose ? log::Level::verbose
                                             : log::Level::normal);
  });

  // In the order of the sentence: discover, report, plan, enroll, unlock, watch.
  add_scan(app, session);
  add_check(app, session);
  add_evidence(app, session);
  add_explain(app, session);
  add_plan(app, session);
  add_policy(app, session);
  add_enroll(app, session);
  add_decrypt(app, session);
  add_protector(app, session);
  add_escrow(app, session);
  add_header(app, session);
  add_tpm(app, session);
  add_unlock(app, session);
  add_drill(app, session);
  add_lock(app, session);
  add_recover(app, session);
  add_audit(app, session);
  add_status(app, session);
  add_verify_next_boot(app, session);
  add_watch(app, session);
  add_quarantine(app, session);
  add_erase(app, session);
  add_operators(app, session);

  try {
    app.parse(argc, argv);
    return session.status;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_status::good : exit_status::usage;
  } catch (const Error& error) {
    return report_error(error);
  } catch (const std::exception& error) {
    return report_error(Error(Code::internal, "{}", error.what()));
  }
}

}  // namespace
}  // namespace volseal

int main(int argc, char** argv) {
  volseal::ensure_standard_descriptors();
  // A pager that is closed must not end an encryption half-way; see print_out.
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  return volseal::run_verb(argc, argv);
}
