#include "tests/support/tpm_proxy.h"

#include "core/base/error.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace volseal::test {

namespace {

constexpr std::size_t header_size = 10;
constexpr std::size_t max_frame = 8192;

UniqueFd listen_at(const Path& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) throw_errno(errno, "make a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& name = path.native();
  if (name.size() >= sizeof address.sun_path)
    throw Error(Code::internal, "{}: path too long", name);
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  ::unlink(name.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 16) != 0) {
    throw_errno(errno, "listen at {}", name);
  }
  return fd;
}

bool send_all(int fd, const Bytes& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    done += static_cast<std::size_t>(put);
  }
  return true;
}

bool receive_all(int fd, std::span<std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

// Commands and responses alike: tag, size of the whole, code.
std::optional<Bytes> receive_frame(int fd) {
  Bytes frame(header_size);
  if (!receive_all(fd, frame)) return std::nullopt;
  const std::size_t size = tpm_u32(frame, 2);
  if (size < header_size || size > max_frame) return std::nullopt;
  frame.resize(size);
  if (!receive_all(fd, std::span(frame).subspan(header_size))) return std::nullopt;
  return frame;
}

}  // namespace

std::uint32_t tpm_u32(const Bytes& bytes, std::size_t at) {
  return std::uint32_t{tpm_u16(bytes, at)} << 16U | tpm_u16(bytes, at + 2);
}

std::uint16_t tpm_u16(const Bytes& bytes, std::size_t at) {
  if (at + 2 > bytes.size()) return 0;
  return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

Bytes tpm_refusal(std::uint32_t code) {
  return {0x80,
          0x01,
          0,
          0,
          0,
          header_size,
          static_cast<std::uint8_t>(code >> 24U),
          static_cast<std::uint8_t>(code >> 16U),
          static_cast<std::uint8_t>(code >> 8U),
          static_cast<std::uint8_t>(code)};
}

std::uint32_t TpmExchange::command_code() const {
  return tpm_u32(command, 6);
}
std::uint32_t TpmExchange::response_code() const {
  return tpm_u32(response, 6);
}

TpmProxy::TpmProxy(const Path& path, int commands, int control)
    : commands_(commands),
      control_(control),
      listener_(listen_at(path)),
      control_listener_(listen_at(path.native() + ".ctrl")),
      stop_(::eventfd(0, EFD_CLOEXEC)),
      thread_([this] { serve(); }) {}

TpmProxy::~TpmProxy() {
  const std::uint64_t one = 1;
  if (::write(stop_.get(), &one, sizeof one) == sizeof one) thread_.join();
}

void TpmProxy::intercept(Intercept hook) {
  const std::scoped_lock lock(state_);
  intercept_ = hook ? std::make_shared<Intercept>(std::move(hook)) : nullptr;
}

void TpmProxy::alter(Alter hook) {
  const std::scoped_lock lock(state_);
  alter_ = hook ? std::make_shared<Alter>(std::move(hook)) : nullptr;
}

std::vector<TpmExchange> TpmProxy::take_exchanges() {
  const std::scoped_lock lock(state_);
  return std::exchange(exchanges_, {});
}

Bytes TpmProxy::forward(const Bytes& command) {
  const std::scoped_lock lock(upstream_);
  if (send_all(commands_, command)) {
    if (auto response = receive_frame(commands_)) return *std::move(response);
  }
  throw Error(Code::no_tpm, "swtpm is gone");
}

Bytes TpmProxy::transact(const Bytes& command) {
  return forward(command);
}

bool TpmProxy::serve_command(int client) {
  const auto command = receive_frame(client);
  if (!command) return false;
  std::shared_ptr<Intercept> intercept;
  std::shared_ptr<Alter> alter;
  {
    const std::scoped_lock lock(state_);
    intercept = intercept_;
    alter = alter_;
  }
  std::optional<Bytes> response;
  if (intercept) response = (*intercept)(*command);
  if (!response) response = forward(*command);
  if (alter) (*alter)(*command, *response);
  {
    const std::scoped_lock lock(state_);
    exchanges_.push_back({.command = *command, .response = *response});
  }
  return send_all(client, *response);
}

bool TpmProxy::serve_control(int client) {
  Bytes chunk(max_frame);
  const ssize_t got = ::recv(client, chunk.data(), chunk.size(), 0);
  if (got <= 0) return false;
  chunk.resize(static_cast<std::size_t>(got));
  control_client_ = client;
  return send_all(control_, chunk);
}

void TpmProxy::serve() {
  for (;;) {
    std::vector<pollfd> polled = {{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                                  {.fd = listener_.get(), .events = POLLIN, .revents = 0},
                                  {.fd = control_listener_.get(), .events = POLLIN, .revents = 0},
                                  {.fd = control_, .events = POLLIN, .revents = 0}};
    constexpr std::size_t fixed = 4;
    for (const auto& client : clients_) polled.push_back({client.get(), POLLIN, 0});
    for (const auto& client : control_clients_) polled.push_back({client.get(), POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return;
    if (polled[0].revents != 0) return;

    if (polled[3].revents != 0) {
      Bytes chunk(max_frame);
      const ssize_t got = ::recv(control_, chunk.data(), chunk.size(), 0);
      if (got <= 0) return;
      chunk.resize(static_cast<std::size_t>(got));
      if (control_client_ >= 0) send_all(control_client_, chunk);
    }
    const std::size_t commands = clients_.size();
    for (std::size_t i = fixed; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      UniqueFd& client =
          i - fixed < commands ? clients_[i - fixed] : control_clients_[i - fixed - commands];
      bool stays = false;
      try {
        stays = i - fixed < commands ? serve_command(client.get()) : serve_control(client.get());
      } catch (const Error&) {
        stays = false;  // the client sees its connection end, as with a TPM that vanished
      }
      if (stays) continue;
      if (control_client_ == client.get()) control_client_ = -1;
      client.reset();
    }
    std::erase_if(clients_, [](const UniqueFd& client) { return !client; });
    std::erase_if(control_clients_, [](const UniqueFd& client) { return !client; });

    if (polled[1].revents != 0) {
      clients_.emplace_back(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    if (polled[2].revents != 0) {
      control_clients_.emplace_back(
          ::accept4(control_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
  }
}

}  // namespace volseal::test
