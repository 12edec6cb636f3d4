#include "tests/support/terminal.h"

#include "core/base/file.h"

#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>

namespace volseal::test {

namespace {

constexpr int patience = 20000;  // ms without a word

}  // namespace

Terminal::Terminal(const std::vector<std::string>& argv) {
  std::vector<std::string> words = argv;
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  int fd = -1;
  pid_ = ::forkpty(&fd, nullptr, nullptr, nullptr);
  if (pid_ == 0) {
    ::execv(pointers.front(), pointers.data());
    ::_exit(127);
  }
  if (pid_ < 0) throw std::runtime_error("no terminal for " + argv.front());
  terminal_.reset(fd);
}

Terminal::~Terminal() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

bool Terminal::read_some() {
  pollfd poll{.fd = terminal_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&poll, 1, patience) != 1) throw std::runtime_error("nothing more than:\n" + shown_);
  std::array<char, 4096> buffer{};
  const ssize_t got = ::read(terminal_.get(), buffer.data(), buffer.size());
  if (got <= 0) return false;  // EIO: the program has ended
  shown_.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

void Terminal::expect(const std::string& text) {
  for (;;) {
    const std::size_t at = shown_.find(text, seen_);
    if (at != std::string::npos) {
      seen_ = at + text.size();
      return;
    }
    if (!read_some()) throw std::runtime_error("it ended without '" + text + "':\n" + shown_);
  }
}

void Terminal::answer(const std::string& prompt, const std::string& typed) {
  expect(prompt);
  // By then the terminal is silent, and nothing typed is dropped.
  expect(": ");
  write_all(terminal_.get(), typed, "a terminal");
}

int Terminal::wait() {
  while (read_some()) {
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace volseal::test
