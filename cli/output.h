// Where output goes and how it may look there.
#pragma once

#include <cstddef>
#include <string_view>

namespace volseal {

bool is_terminal(int fd);
// The terminal's width; $COLUMNS, else 100, where there is none.
std::size_t columns(int fd);
// A terminal, NO_COLOR unset or empty (no-color.org), TERM not "dumb".
bool may_colour(int fd);

// Writes to standard output and throws Error where that fails (a full disk behind a redirection).
void print_out(std::string_view text);

}  // namespace volseal
