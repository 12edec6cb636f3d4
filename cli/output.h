// Where output goes and how it may look there.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string_view>
#include <utility>

namespace volseal {

bool is_terminal(int fd);
// The terminal's width; $COLUMNS, else 100, where there is none.
std::size_t columns(int fd);
// A terminal, NO_COLOR unset or empty (no-color.org), TERM not "dumb".
bool may_colour(int fd);

// The answer of a verb. Throws Error where it cannot be written (a full disk behind a redirection);
// a reader that is gone ends the process as SIGPIPE does.
void print_out(std::string_view text);

// Words in the middle of work, on standard output or standard error: a reader that is gone, or a
// full disk behind a redirection, stops nothing.
void tell_out(std::string_view text);
void tell_err(std::string_view text);

template <typename... Args>
void print_err(fmt::format_string<Args...> format, Args&&... args) {
  tell_err(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace volseal
