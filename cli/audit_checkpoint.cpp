#include "cli/audit_checkpoint.h"

#include "cli/boot_log.h"
#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/world.h"
#include "core/audit/checkpoint.h"
#include "core/base/error.h"

namespace volseal {

int checkpoint_audit(const AnchorOptions& how, const Session& session) {
  // What the initramfs did is part of the log before it is signed.
  log_boot(session);
  const AuditPlace place = audit_log_of(session.options);
  audit::make_checkpoint(place);
  if (const auto note = audit::last_note(place.log)) print_out(*note);
  // Each on its own: one that fails keeps the other from nothing.
  const bool held = anchor_checkpoint(how, session.options);
  const bool handed_out = hand_out_checkpoint(session.options);
  return held && handed_out ? exit_status::good : exit_status::warnings;
}

void print_audit_key(const Options& options) {
  const Path log = audit_log_of(options).log;
  const auto key = audit::load_key(log);
  const auto last = audit::last_checkpoint(log);
  if (!key || !last) {
    throw Error(Code::not_found,
                "print the audit log's key: there is none before the first 'volseal audit "
                "checkpoint'");
  }
  print_out(key->verifier(last->origin).text() + "\n");
}

}  // namespace volseal
