// libcryptsetup's progress callback over ours.
#pragma once

#include "core/base/apart.h"

#include <cstdint>

namespace volseal {

struct Reporter {
  const GoOn* go_on;
  bool stopped = false;

  // libcryptsetup: anything but zero stops at the next hot zone.
  static int call(std::uint64_t size, std::uint64_t offset, void* self) {
    auto& reporter = *static_cast<Reporter*>(self);
    try {
      if ((*reporter.go_on)(offset, size)) return 0;
    } catch (...) {
      // Nothing may be thrown through C; a progress bar that fails is no reason to go on blindly.
      reporter.stopped = true;
      return 1;
    }
    reporter.stopped = true;
    return 1;
  }
};

}  // namespace volseal
