#include "cli/prompt.h"

#include "cli/output.h"
#include "cli/stop.h"
#include "core/base/error.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

namespace volseal {

namespace {

constexpr std::size_t longest = 512;

UniqueFd open_terminal() {
  return UniqueFd(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
}

// The signal may have gone to another thread, whose reading it does not end.
void wait_for_input(int fd) {
  constexpr int moment = 200;  // ms
  for (;;) {
    pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&poll, 1, moment);
    if (stop_is_wanted() || (ready < 0 && errno == EINTR))
      throw Error(Code::interrupted, "read from the terminal: interrupted");
    if (ready < 0) throw_errno(errno, "read from the terminal");
    if (ready > 0) return;
  }
}

// One line in canonical mode, without its newline; nothing at end of file.
std::optional<Secret> read_line(int fd) {
  Secret line(longest);
  std::size_t size = 0;
  for (;;) {
    std::uint8_t byte = 0;
    wait_for_input(fd);
    const ssize_t got = ::read(fd, &byte, 1);
    if (got < 0 && errno == EINTR)
      throw Error(Code::interrupted, "read from the terminal: interrupted");
    if (got < 0) throw_errno(errno, "read from the terminal");
    if (got == 0 && size == 0) return std::nullopt;
    if (got == 0 || byte == '\n') break;
    if (size == longest)
      throw Error(Code::usage, "read from the terminal: more than {} characters", longest);
    line.bytes()[size++] = byte;
  }
  line.truncate(size);
  return line;
}

}  // namespace

bool can_ask() {
  return static_cast<bool>(open_terminal());
}

std::optional<Secret> ask_secret(std::string_view prompt) {
  const UniqueFd terminal = open_terminal();
  if (!terminal) return std::nullopt;
  termios before{};
  if (::tcgetattr(terminal.get(), &before) != 0) return std::nullopt;
  termios silent = before;
  silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  silent.c_lflag |= ICANON | ISIG | ECHONL;
  // Silent first: an answer that comes at once is neither shown nor dropped.
  ::tcsetattr(terminal.get(), TCSAFLUSH, &silent);
  const Finally restore([&] { ::tcsetattr(terminal.get(), TCSAFLUSH, &before); });
  write_all(terminal.get(), fmt::format("{}: ", prompt), "the terminal");
  return read_line(terminal.get());
}

Secret ask_new_secret(std::string_view what) {
  for (int tries = 0; tries < 3; ++tries) {
    auto first = ask_secret(fmt::format("New {}", what));
    if (!first)
      throw Error(Code::usage, "ask for a new {}: there is no terminal; give --new-key-file", what);
    if (first->empty()) continue;
    const auto second = ask_secret(fmt::format("The same {} again", what));
    if (second && first->equal(*second)) return std::move(*first);
    print_err("volseal: the two differ\n");
  }
  throw Error(Code::usage, "ask for a new {}: three times without two equal answers", what);
}

std::optional<std::string> ask_line(std::string_view prompt) {
  const UniqueFd terminal = open_terminal();
  if (!terminal) return std::nullopt;
  write_all(terminal.get(), fmt::format("{}: ", prompt), "the terminal");
  const auto line = read_line(terminal.get());
  if (!line) return std::nullopt;
  return std::string(line->view());
}

bool confirm(std::string_view question) {
  return ask_line(fmt::format("{} [yes/no]", question)) == "yes";
}

Secret existing_secret(const std::optional<Path>& key_file, std::string_view what) {
  if (key_file) return read_secret(*key_file);
  auto typed = ask_secret(fmt::format("Passphrase or recovery key of {}", what));
  if (!typed || typed->empty()) {
    throw Error(Code::usage,
                "open {}: there is no terminal to ask for its passphrase; give --key-file", what);
  }
  return std::move(*typed);
}

}  // namespace volseal
