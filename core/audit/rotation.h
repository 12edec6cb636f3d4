// What the first line of a file says of the one that was closed before it.
#pragma once

#include "core/audit/audit.h"
#include "core/audit/tree.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace volseal::audit {

struct ClosedBefore {
  std::uint64_t number = 0;  // of the file
  std::uint64_t bytes = 0;   // its size
  Tree tree;                 // over all lines up to its end
  std::string log;           // the log's id
};

std::map<std::string, std::string> detail_of(const ClosedBefore& closed, Hasher& hasher);
// Nothing where the event is no "audit.rotated", or contradicts itself.
std::optional<ClosedBefore> closed_before(const AuditRecord& record);

// A log's id: its first line tells it from every other log.
std::string id_of(const Hash& first_line);

}  // namespace volseal::audit
