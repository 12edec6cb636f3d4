#include "core/base/apart.h"

#include "core/base/error.h"
#include "core/base/handle.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <string_view>

namespace volseal {

namespace {

// A packet socket keeps messages apart, so each is one send and one receive.
struct Message {
  enum class Kind { progress, returned, failed } kind = Kind::progress;
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  bool value = false;
  Code code = Code::internal;
  std::array<char, 1024> text{};
};

// Longer ones are none of ours.
constexpr std::size_t longest_secret = 4096;

// False: the other side is gone.
bool send(int socket, const void* data, std::size_t size) {
  for (;;) {
    const ssize_t sent = ::send(socket, data, size, MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent) == size;
    if (errno != EINTR) return false;
  }
}

ssize_t receive(int socket, void* data, std::size_t size) {
  for (;;) {
    const ssize_t got = ::recv(socket, data, size, 0);
    if (got >= 0 || errno != EINTR) return got;
  }
}

Message failure(Code code, std::string_view text) {
  Message message{.kind = Message::Kind::failed, .code = code};
  text.copy(message.text.data(), message.text.size() - 1);
  return message;
}

using Work = std::function<bool(const Secret&, const GoOn&)>;

Message outcome_of(int socket, std::size_t secret_size, const Work& work) {
  try {
    Secret secret(secret_size);
    if (secret_size != 0 &&
        receive(socket, secret.bytes().data(), secret_size) != static_cast<ssize_t>(secret_size)) {
      throw Error(Code::internal, "get the secret of the work that is to be done");
    }
    const auto go_on = [&](std::uint64_t done, std::uint64_t total) {
      const Message progress{.done = done, .total = total};
      char answer = 0;
      return send(socket, &progress, sizeof progress) &&
             receive(socket, &answer, sizeof answer) == ssize_t{sizeof answer} && answer == 1;
    };
    return {.kind = Message::Kind::returned, .value = work(secret, go_on)};
  } catch (const Error& error) {
    return failure(error.code(), error.what());
  } catch (const std::exception& error) {
    return failure(Code::internal, error.what());
  }
}

class Child {
 public:
  Child(std::size_t secret_size, const Work& work) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      throw_errno(errno, "make a socket pair");
    }
    socket_.reset(ends[0]);
    const UniqueFd theirs(ends[1]);
    pid_ = ::fork();
    if (pid_ < 0) throw_errno(errno, "start a process for long work");
    if (pid_ != 0) return;
    socket_.reset();
    const Message last = outcome_of(theirs.get(), secret_size, work);
    // No destructors: what the parent holds is the parent's to close.
    ::_exit(send(theirs.get(), &last, sizeof last) ? 0 : 1);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  Child(Child&&) = delete;
  Child& operator=(Child&&) = delete;
  // With the socket closed it stops at its next report.
  ~Child() {
    socket_.reset();
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  int socket() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  pid_t pid_ = -1;
};

}  // namespace

bool run_apart(const Secret& secret, const Work& work, const GoOn& go_on) {
  if (secret.size() > longest_secret) throw Error(Code::internal, "hand over a secret: too long");
  const Child child(secret.size(), work);
  if (!secret.empty() && !send(child.socket(), secret.bytes().data(), secret.size())) {
    throw Error(Code::internal, "hand a secret to the process that is to work with it");
  }
  for (;;) {
    Message message;
    if (receive(child.socket(), &message, sizeof message) != ssize_t{sizeof message}) {
      throw Error(Code::internal, "wait for long work: its process ended without a word");
    }
    switch (message.kind) {
      case Message::Kind::progress: {
        const char answer = go_on(message.done, message.total) ? 1 : 0;
        // A failure shows in the next receive.
        static_cast<void>(send(child.socket(), &answer, sizeof answer));
        break;
      }
      case Message::Kind::returned: return message.value;
      case Message::Kind::failed:
        message.text.back() = '\0';
        throw Error(message.code, std::string(message.text.data()));
    }
  }
}

void keep_only(int fd) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int stream = 0; stream < 3 && null >= 0; ++stream) ::dup2(null, stream);
  if (fd > 3) ::close_range(3, static_cast<unsigned>(fd) - 1, 0);
  ::close_range(static_cast<unsigned>(fd) + 1, ~0U, 0);
}

}  // namespace volseal
