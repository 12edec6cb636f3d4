#include "core/base/log.h"

#include "core/base/escape.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace volseal::log {

namespace {

std::atomic<Level> current_level{Level::normal};

// JOURNAL_STREAM names device and inode of the journal's socket (systemd.exec(5)); a shell inherits
// it and points standard error elsewhere.
bool is_journal(int fd) {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat status{};
  return stream != nullptr && ::fstat(fd, &status) == 0 &&
         stream == fmt::format("{}:{}", status.st_dev, status.st_ino);
}

}  // namespace

void set_level(Level level) {
  current_level = level;
}
Level level() {
  return current_level;
}

void write_line(int priority, std::string_view text) {
  static const bool journal = is_journal(STDERR_FILENO);
  // Whatever part of a message came from a device: no line of ours moves a cursor or starts
  // another.
  const std::string safe = on_one_line(text);
  std::string line;
  if (journal) {
    line = fmt::format("<{}>{}\n", priority, safe);
  } else if (priority <= 4) {
    line = fmt::format("volseal: warning: {}\n", safe);
  } else {
    line = fmt::format("volseal: {}\n", safe);
  }
  // One write a line, so that lines of several processes do not mix.
  static_cast<void>(std::fputs(line.c_str(), stderr));
}

}  // namespace volseal::log
