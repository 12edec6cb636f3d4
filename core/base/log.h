// Words to the operator on standard error. What was done goes to core/audit, not here.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace volseal::log {

enum class Level { quiet, normal, verbose };

// Process-wide; set once from the command line.
void set_level(Level level);
Level level();

// One line, made safe for a terminal. To the journal with the priority prefix of sd-daemon(3).
void write_line(int priority, std::string_view text);

template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write_line(4, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void note(fmt::format_string<Args...> format, Args&&... args) {
  if (level() != Level::quiet) write_line(5, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void detail(fmt::format_string<Args...> format, Args&&... args) {
  if (level() == Level::verbose) write_line(7, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace volseal::log
