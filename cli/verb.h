// What every verb shares: the options that stand before or behind any verb, and its result.
#pragma once

#include "core/base/file.h"

#include <CLI/CLI.hpp>

#include <string>

namespace volseal {

struct Options {
  std::string tcti;                          // --tcti, VOLSEAL_TCTI; empty: /dev/tpmrm0
  Path policy = "/etc/volseal/policy.toml";  // --policy
  Path state = "/var/lib/volseal";           // --state
  bool quiet = false;
  bool verbose = false;
};

// A verb adds its sub-command to `app`; its callback sets `status` (see exit_status.h) or throws
// Error.
struct Session {
  Options options;
  int status = 0;
};

void add_scan(CLI::App& app, Session& session);
void add_check(CLI::App& app, Session& session);
void add_explain(CLI::App& app, Session& session);
void add_plan(CLI::App& app, Session& session);
void add_policy(CLI::App& app, Session& session);
void add_enroll(CLI::App& app, Session& session);
void add_decrypt(CLI::App& app, Session& session);
void add_drill(CLI::App& app, Session& session);
void add_protector(CLI::App& app, Session& session);
void add_escrow(CLI::App& app, Session& session);
void add_evidence(CLI::App& app, Session& session);
void add_header(CLI::App& app, Session& session);
void add_operators(CLI::App& app, Session& session);
void add_recover(CLI::App& app, Session& session);
void add_status(CLI::App& app, Session& session);
void add_tpm(CLI::App& app, Session& session);
void add_audit(CLI::App& app, Session& session);
void add_unlock(CLI::App& app, Session& session);
void add_verify_next_boot(CLI::App& app, Session& session);
void add_watch(CLI::App& app, Session& session);
void add_quarantine(CLI::App& app, Session& session);

}  // namespace volseal
