#include "core/base/log.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace volseal::log {

namespace {
std::atomic<Level> current_level{Level::normal};
}

void set_level(Level level) {
  current_level = level;
}
Level level() {
  return current_level;
}

void write_line(int priority, std::string_view text) {
  static const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
  std::string line;
  if (journal) {
    line = fmt::format("<{}>{}\n", priority, text);
  } else if (priority <= 4) {
    line = fmt::format("volseal: warning: {}\n", text);
  } else {
    line = fmt::format("volseal: {}\n", text);
  }
  // One write a line, so that lines of several processes do not mix.
  static_cast<void>(std::fputs(line.c_str(), stderr));
}

}  // namespace volseal::log
