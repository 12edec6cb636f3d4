// The files of a log: audit/audit.log.000001, .000002 ... that were closed, and audit.log itself.
#pragma once

#include "core/base/file.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace volseal::audit {

// Beside the log: closed files, checkpoints, the key that signs them.
Path folder_of(const Path& log);
Path closed_file(const Path& log, std::uint64_t number);

// The numbers of the closed files that are there, ascending.
std::vector<std::uint64_t> closed_files(const Path& log);

// A log as it is at one moment: what is written later is not in it.
struct Snapshot {
  struct File {
    Path path;
    std::uint64_t number = 0;
    std::optional<UniqueFd> fd;  // the open one's only; the others no longer change
    std::uint64_t size = 0;
  };
  std::vector<File> files;  // oldest first
  bool has_open = false;    // audit.log is there
};

// For who holds the log's lock.
Snapshot list_files(const Path& log);
// Throws Error{not_found} where there is no file at all. Waits for a writer in the middle of a
// line.
Snapshot snapshot(const Path& log);

}  // namespace volseal::audit
