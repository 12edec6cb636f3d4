// Running another program: no shell, a fixed PATH and locale, no inherited descriptors, bounded
// output.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct ProcessResult {
  int status = 0;      // exit status; 128 + signal when it was killed
  std::string output;  // standard output and standard error, the first MiB
};

// argv[0] is looked up in /usr/sbin:/usr/bin:/sbin:/bin only. Never put a secret into argv.
// Throws Error{not_found} when there is no such program.
ProcessResult run(const std::vector<std::string>& argv, std::string_view input = {});

// As run(), and throws Error{program_failed} with the last line of output when the status is not in
// `good`.
ProcessResult run_or_throw(const std::vector<std::string>& argv,
                           const std::vector<int>& good = {0});

}  // namespace volseal
