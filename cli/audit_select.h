// Which events a person asks for.
#pragma once

#include "core/audit/audit.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace volseal {

struct AuditSelection {
  std::string since;   // "YYYY-MM-DD[Thh:mm[:ss]]", UTC, or "90s", "45m", "2h", "7d"; empty: all
  std::string volume;  // its path or LUKS UUID; these six are globs as fnmatch(3) has them
  std::string group;
  std::string tenant;       // the group's when it happened
  std::string environment;  // the same
  std::string action;
  std::string who;  // a user's name or number, a unit, a terminal, a remote host
};

class AuditFilter {
 public:
  // Throws Error{usage} for a time that is none.
  explicit AuditFilter(const AuditSelection& selection);

  bool wants(const AuditRecord& record) const;

 private:
  bool is_by(const Actor& who) const;

  AuditSelection selection_;
  std::string since_;  // as the log writes times
  std::optional<std::uint32_t> uid_;
};

// "alice (1000)" where this machine knows the number, else "1000".
std::string user_text(std::uint32_t uid);
// Who it was in a few words: the person who logged in, what they were, and from where.
std::string who_text(const Actor& who);

}  // namespace volseal
