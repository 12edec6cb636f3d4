// The end of a file of the log, as the next line must follow it.
#pragma once

#include "core/audit/record.h"

#include <cstdint>
#include <optional>
#include <string>

namespace volseal::audit {

struct Tail {
  std::uint64_t seq = 0;            // of the last event
  std::string prev{no_prev};        // SHA-256 of the last line
  bool torn = false;                // it has no newline
  std::string why;                  // why the last line is no event; "" where it is one
  std::optional<AuditRecord> last;  // the last event
};

// Throws Error{damaged} where the last line is longer than 1 MiB.
Tail tail_of(int fd, std::uint64_t size, const Path& path);

}  // namespace volseal::audit
