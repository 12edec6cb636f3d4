#include "cli/output.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>

namespace volseal {

bool is_terminal(int fd) {
  return ::isatty(fd) == 1;
}

std::size_t columns(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  if (const char* text = std::getenv("COLUMNS"); text != nullptr) {
    const std::string_view view(text);
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
    if (error == std::errc{} && end == view.data() + view.size() && value >= 20 && value < 10000) {
      return value;
    }
  }
  return 100;
}

bool may_colour(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return is_terminal(fd) && (no_color == nullptr || *no_color == '\0') && term != nullptr &&
         std::string_view(term) != "dumb";
}

void print_out(std::string_view text) {
  if (std::fflush(stdout) != 0) throw_errno(errno, "write standard output");
  write_all(STDOUT_FILENO, text, "standard output");
}

}  // namespace volseal
