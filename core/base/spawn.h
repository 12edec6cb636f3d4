// A program that runs beside this one. core/base/process.h waits for it.
#pragma once

#include "core/base/handle.h"

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct Spawned {
  pid_t pid = 0;    // of its process group, too
  UniqueFd handle;  // readable when it has ended (pidfd_open(2)); waitpid(2) is the caller's
};

// What a program reads: a file in memory, so that nobody can block on a full pipe.
UniqueFd input_of(std::string_view input);

// As run() does: no shell, a fixed PATH and locale, a session of its own, no inherited descriptors
// but these. Output and errors both go to `out`. Throws Error{not_found} when there is no such
// program.
Spawned spawn(const std::vector<std::string>& argv, const UniqueFd& in, const UniqueFd& out,
              const std::vector<std::string>& variables = {});

}  // namespace volseal
