// volseal-softkey: the authenticator as a HID device, by /dev/uhid. The kernel makes a hidraw
// device of it, and libfido2, systemd and whoever else takes it for a security key of USB.
//
//   volseal-softkey --state FILE [--pin PIN] [--touch always|never|FILE] [--name NAME]
//                   [--ctap20] [--finger] [--makes-without-pin]
//
// --pin: sets it where the state has none. --touch FILE: it is touched while that file exists. Runs
// until it is killed, which is the plug being pulled. For tests: the PIN is on its command line.
#include "core/base/error.h"
#include "tests/support/softkey/ctaphid.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/uhid.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>

namespace volseal::test {
namespace {

using std::chrono::milliseconds;

// CTAP 2.1 section 11.2.8.1: usage page 0xf1d0, one report of 64 bytes in, one out.
constexpr std::array<std::uint8_t, 34> descriptor = {
    0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26,
    0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81, 0x02, 0x09, 0x21, 0x15, 0x00,
    0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0};

struct Settings {
  Path state;
  std::string pin;
  std::string touch = "always";
  std::string name = "volseal softkey";
  KeyModel model;
};

class Uhid final : public ReportLink {
 public:
  explicit Uhid(const std::string& name) : fd_(open_file("/dev/uhid", O_RDWR)) {
    uhid_event event{};
    event.type = UHID_CREATE2;
    uhid_create2_req& create = event.u.create2;
    name.copy(reinterpret_cast<char*>(create.name), sizeof create.name - 1);
    std::ranges::copy(descriptor, create.rd_data);
    create.rd_size = descriptor.size();
    create.bus = 0x03;       // USB
    create.vendor = 0x1209;  // pid.codes, for tests
    create.product = 0x0001;
    write(event);
  }

  Got receive(Report& report, milliseconds wait) override {
    pollfd poll{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&poll, 1, static_cast<int>(wait.count())) != 1) return Got::nothing;
    uhid_event event{};
    if (::read(fd_.get(), &event, sizeof event) <= 0) return Got::gone;
    switch (event.type) {
      case UHID_OUTPUT: return taken(event.u.output, report);
      case UHID_GET_REPORT: return refuse(UHID_GET_REPORT_REPLY, event.u.get_report.id);
      case UHID_SET_REPORT: return refuse(UHID_SET_REPORT_REPLY, event.u.set_report.id);
      default: return Got::nothing;  // started, opened, closed, stopped
    }
  }

  void send(const Report& report) override {
    uhid_event event{};
    event.type = UHID_INPUT2;
    event.u.input2.size = static_cast<std::uint16_t>(report.size());
    std::ranges::copy(report, event.u.input2.data);
    write(event);
  }

 private:
  // hidraw passes on the report's number, which is 0 and no part of the report.
  static Got taken(const uhid_output_req& output, Report& report) {
    const std::size_t skip = output.size == report.size() + 1 ? 1 : 0;
    if (output.size < report.size()) return Got::nothing;
    std::copy_n(output.data + skip, report.size(), report.begin());
    return Got::report;
  }

  Got refuse(std::uint32_t type, std::uint32_t id) {
    uhid_event event{};
    event.type = type;
    if (type == UHID_GET_REPORT_REPLY) {
      event.u.get_report_reply.id = id;
      event.u.get_report_reply.err = EIO;
    } else {
      event.u.set_report_reply.id = id;
      event.u.set_report_reply.err = EIO;
    }
    write(event);
    return Got::nothing;
  }

  void write(const uhid_event& event) const {
    if (::write(fd_.get(), &event, sizeof event) != ssize_t{sizeof event})
      throw_errno(errno, "write to /dev/uhid");
  }

  UniqueFd fd_;
};

class ToldHand final : public Hand {
 public:
  explicit ToldHand(std::string touch) : touch_(std::move(touch)) {}

  bool touches(milliseconds) override {
    if (touch_ == "always") return true;
    return touch_ != "never" && ::access(touch_.c_str(), F_OK) == 0;
  }
  bool known_finger() override { return true; }
  milliseconds patience() override { return std::chrono::seconds(30); }

 private:
  std::string touch_;
};

Settings parse(std::span<char*> words) {
  Settings settings;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    const auto value = [&] {
      if (++i >= words.size()) throw Error(Code::usage, "{} wants a value", word);
      return std::string(words[i]);
    };
    if (word == "--state") {
      settings.state = value();
    } else if (word == "--pin") {
      settings.pin = value();
    } else if (word == "--touch") {
      settings.touch = value();
    } else if (word == "--name") {
      settings.name = value();
    } else if (word == "--ctap20") {
      settings.model.ctap21 = false;
      settings.model.pin_protocols = {1};
    } else if (word == "--makes-without-pin") {
      settings.model.makes_without_pin = true;
    } else if (word == "--finger") {
      settings.model.finger_reader = true;
    } else {
      throw Error(Code::usage, "there is no option {}", word);
    }
  }
  if (settings.state.empty()) throw Error(Code::usage, "--state FILE is missing");
  return settings;
}

void set_first_pin(const Settings& settings) {
  KeyState state = load_key_state(settings.state);
  if (settings.pin.empty() || !state.pin_hash.empty()) return;
  state.pin_hash = pin_hash_of(settings.pin);
  save_key_state(settings.state, state);
}

int serve(std::span<char*> words) {
  try {
    const Settings settings = parse(words);
    set_first_pin(settings);
    Uhid link(settings.name);
    ToldHand hand(settings.touch);
    CtapHid(link, hand, settings.model, settings.state).serve();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "volseal-softkey: {}\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace volseal::test

int main(int argc, char** argv) {
  return volseal::test::serve(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
}
