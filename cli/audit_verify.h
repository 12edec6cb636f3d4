// volseal audit verify.
#pragma once

#include "cli/verb.h"

#include <optional>
#include <vector>

namespace volseal {

struct AuditVerify {
  std::optional<Path> log;        // nothing: this machine's
  std::optional<Path> key;        // nothing: the one beside the log
  std::vector<Path> checkpoints;  // kept elsewhere
  bool json = false;
};

// The exit status.
int verify_audit(const AuditVerify& verify, const Options& options);

}  // namespace volseal
