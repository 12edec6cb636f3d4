#include "cli/output.h"

#include "core/base/error.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>

namespace volseal {

namespace {

// 0, or errno.
int put(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t done = ::write(fd, text.data(), text.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(done));
  }
  return 0;
}

}  // namespace

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
  const int error = put(STDOUT_FILENO, text);
  if (error == EPIPE) {
    // Ignored so far, for the sake of work that must not stop half-way.
    static_cast<void>(std::signal(SIGPIPE, SIG_DFL));
    static_cast<void>(std::raise(SIGPIPE));
  }
  if (error != 0) throw_errno(error, "write standard output");
}

void tell_out(std::string_view text) {
  static_cast<void>(put(STDOUT_FILENO, text));
}

void tell_err(std::string_view text) {
  static_cast<void>(put(STDERR_FILENO, text));
}

}  // namespace volseal
