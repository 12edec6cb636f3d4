// Running another program: no shell, a fixed PATH and locale, no inherited descriptors, bounded
// output.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct ProcessResult {
  int status = 0;          // exit status; 128 + signal when it was killed
  std::string output;      // standard output and standard error, the first MiB
  bool timed_out = false;  // it was killed for it
};

struct RunOptions {
  std::vector<std::string> variables;  // "NAME=value", beside PATH and LC_ALL
  // After it the program is killed, with its process group.
  std::optional<std::chrono::milliseconds> timeout;
};

// Waits for the program itself, not for a daemon that it leaves behind with its output open. It
// runs in a session of its own, without a terminal: it cannot ask there, and Ctrl-C or a lost
// connection does not cut a resize2fs in two.
//
// argv[0] is looked up in /usr/sbin:/usr/bin:/sbin:/bin only. Never put a secret into argv.
// Throws Error{not_found} when there is no such program.
ProcessResult run(const std::vector<std::string>& argv, std::string_view input = {},
                  const RunOptions& options = {});

// As run(), and throws Error{program_failed} with the last line of output when the status is not in
// `good`.
ProcessResult run_or_throw(const std::vector<std::string>& argv, const std::vector<int>& good = {0},
                           std::string_view input = {});

// Fills those of the descriptors 0, 1 and 2 that are closed. Call it first in main(): else the next
// device that is opened becomes standard error, and a message is written to the disk.
void ensure_standard_descriptors();

}  // namespace volseal
