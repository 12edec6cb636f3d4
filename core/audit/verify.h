// Whether the log is what was written: volseal audit verify.
#pragma once

#include "core/audit/audit.h"

#include <cstdint>
#include <string>
#include <vector>

namespace volseal {

struct AuditVerdict {
  std::uint64_t files = 0;
  std::uint64_t lines = 0;
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;
  std::string root;              // of the tree over all lines, hexadecimal
  std::string last_time;         // of the last event
  bool torn = false;             // the last line was cut off; the next event closes it
  std::vector<AuditFlaw> flaws;  // the first hundred, in the log's order
  std::uint64_t more_flaws = 0;  // beyond them

  bool sound() const { return flaws.empty(); }
};

// In memory that does not grow with the log. Throws Error{not_found} where there is none.
AuditVerdict verify_audit_log(const Path& log);

}  // namespace volseal
