#include "tests/support/softkey/plugged_key.h"

#include "core/base/error.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace volseal::test {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds short_wait{20};

UniqueFd listen_at(const Path& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.native().size() >= sizeof address.sun_path)
    throw Error(Code::internal, "plug in a key at {}: the path is too long", path.native());
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 8) != 0) {
    throw_errno(errno, "plug in a key at {}", path.native());
  }
  return fd;
}

bool readable(int fd, milliseconds wait) {
  pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, static_cast<int>(wait.count())) == 1;
}

}  // namespace

class PluggedKey::Link final : public ReportLink {
 public:
  explicit Link(PluggedKey& key) : key_(key) {}

  // One client at a time, as one that opens the hidraw device.
  bool accept() {
    if (!readable(key_.listener_.get(), short_wait)) return false;
    client_.reset(::accept4(key_.listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return static_cast<bool>(client_);
  }

  Got receive(Report& report, milliseconds wait) override {
    const auto until = std::chrono::steady_clock::now() + wait;
    do {
      if (!key_.plugged_) return drop();
      if (!readable(client_.get(), short_wait)) continue;
      std::array<std::uint8_t, 1 + sizeof(Report)>
          numbered{};  // the report's number stands before it
      if (::recv(client_.get(), numbered.data(), numbered.size(), 0) != ssize_t{numbered.size()})
        return drop();
      if (key_.hung_) continue;
      std::copy(numbered.begin() + 1, numbered.end(), report.begin());
      return Got::report;
    } while (std::chrono::steady_clock::now() < until);
    return Got::nothing;
  }

  void send(const Report& report) override {
    static_cast<void>(::send(client_.get(), report.data(), report.size(), MSG_NOSIGNAL));
  }

 private:
  Got drop() {
    client_.reset();
    return Got::gone;
  }

  PluggedKey& key_;
  UniqueFd client_;
};

class PluggedKey::OwnHand final : public Hand {
 public:
  explicit OwnHand(PluggedKey& key) : key_(key) {}

  bool touches(milliseconds) override {
    switch (key_.does_) {
      case Does::touches: ++key_.touches_; return true;
      case Does::waits: return false;
      case Does::pulls_out:
        // Here, in the key's own thread: it is joined by whoever plugs it in again.
        std::filesystem::remove(key_.socket_);
        key_.plugged_ = false;
        return false;
    }
    return false;
  }
  bool known_finger() override { return key_.finger_; }
  milliseconds patience() override { return milliseconds(200); }

 private:
  PluggedKey& key_;
};

PluggedKey::PluggedKey(Path folder, std::string name, KeyModel model)
    : socket_(folder / (name + ".key")),
      state_file_(folder / (name + ".state")),
      model_(std::move(model)) {
  plug_in();
}

PluggedKey::~PluggedKey() {
  pull_out();
}

void PluggedKey::plug_in() {
  pull_out();
  listener_ = listen_at(socket_);
  plugged_ = true;
  thread_ = std::thread([this] { run(); });
}

void PluggedKey::pull_out() {
  std::filesystem::remove(socket_);
  plugged_ = false;
  if (thread_.joinable()) thread_.join();
  listener_.reset();
}

void PluggedKey::run() {
  Link link(*this);
  OwnHand hand(*this);
  // Powered as long as it is plugged in, whoever opens it.
  CtapHid hid(link, hand, model_, state_file_);
  while (plugged_) {
    if (link.accept()) hid.serve();
  }
}

void PluggedKey::set_pin(const std::string& pin) {
  const bool was_plugged = plugged_;
  pull_out();
  KeyState state = load_key_state(state_file_);
  state.pin_hash = pin_hash_of(pin);
  state.tries = KeyState::all_tries;
  save_key_state(state_file_, state);
  if (was_plugged) plug_in();
}

void PluggedKey::touch_at_once() {
  does_ = Does::touches;
}
void PluggedKey::leave_untouched() {
  does_ = Does::waits;
}
void PluggedKey::pull_out_when_it_blinks() {
  does_ = Does::pulls_out;
}
void PluggedKey::show_another_finger(bool known) {
  finger_ = known;
}
void PluggedKey::hang() {
  hung_ = true;
}

}  // namespace volseal::test
