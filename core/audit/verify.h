// Whether the log is what was written: volseal audit verify.
#pragma once

#include "core/audit/audit.h"
#include "core/audit/expected.h"
#include "core/audit/note.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace volseal {

struct AuditVerifyOptions {
  // Of another machine's log; nothing: this machine's, beside the log.
  std::optional<audit::VerifierKey> key;
  // Checkpoints that were kept elsewhere, and what to call them.
  std::vector<std::pair<std::string, audit::Note>> elsewhere;
  // What this machine's TPM holds.
  std::optional<audit::Anchored> anchored;
  std::string machine = audit::this_machine();  // whose log it must be
};

struct AuditVerdict {
  std::uint64_t files = 0;
  std::uint64_t lines = 0;
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;
  std::string root;       // of the tree over all lines, hexadecimal
  std::string log;        // the log's id
  std::string last_time;  // of the last event
  bool torn = false;      // the last line was cut off; the next event closes it
  std::uint64_t checkpoints = 0;
  std::uint64_t signed_lines = 0;  // by the last good checkpoint: those behind it are not
  std::vector<AuditFlaw> flaws;    // the first hundred: of the lines in their order, then others
  std::uint64_t more_flaws = 0;    // beyond them

  bool sound() const { return flaws.empty(); }
};

// In memory that does not grow with the log. Throws Error{not_found} where there is none.
AuditVerdict verify_audit_log(const Path& log, const AuditVerifyOptions& options = {});

}  // namespace volseal
