#include "tests/support/softkey/ctaphid.h"

#include <algorithm>

namespace volseal::test {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::uint32_t broadcast = 0xffffffff;
constexpr std::uint8_t is_initial = 0x80;

constexpr std::uint8_t ping = 0x01;
constexpr std::uint8_t init_command = 0x06;
constexpr std::uint8_t cbor_command = 0x10;
constexpr std::uint8_t cancel = 0x11;
constexpr std::uint8_t keepalive = 0x3b;
constexpr std::uint8_t error_command = 0x3f;

constexpr std::uint8_t invalid_command = 0x01;
constexpr std::uint8_t invalid_length = 0x03;
constexpr std::uint8_t invalid_sequence = 0x04;
constexpr std::uint8_t message_timeout = 0x05;
constexpr std::uint8_t channel_busy = 0x06;
constexpr std::uint8_t invalid_channel = 0x0b;

constexpr std::uint8_t has_cbor = 0x04;
constexpr std::uint8_t no_messages = 0x08;  // of CTAP1
constexpr std::uint8_t wants_touch = 2;     // in a keepalive

constexpr std::size_t initial_header = 7;
constexpr std::size_t next_header = 5;
constexpr std::size_t longest = 7609;
constexpr milliseconds tick{50};
constexpr milliseconds slowest_message{500};

std::uint32_t channel_of(const Report& report) {
  std::uint32_t channel = 0;
  for (std::size_t i = 0; i < 4; ++i) channel = channel << 8U | report[i];
  return channel;
}

void put_channel(Report& report, std::uint32_t channel) {
  for (std::size_t i = 0; i < 4; ++i)
    report[i] = static_cast<std::uint8_t>(channel >> (24U - 8U * i));
}

}  // namespace

CtapHid::CtapHid(ReportLink& link, Hand& hand, KeyModel model, Path state_file)
    : link_(link), hand_(hand), authenticator_(std::move(model), std::move(state_file), *this) {}

void CtapHid::serve() {
  gone_ = false;
  pending_.reset();
  while (!gone_) {
    Report report{};
    switch (link_.receive(report, tick)) {
      case ReportLink::Got::report: take(report); break;
      case ReportLink::Got::nothing:
        if (pending_ && Clock::now() - pending_->since > slowest_message) {
          send_error(pending_->channel, message_timeout);
          pending_.reset();
        }
        break;
      case ReportLink::Got::gone: return;
    }
  }
}

void CtapHid::take(const Report& report) {
  const std::uint32_t channel = channel_of(report);
  if ((report[4] & is_initial) != 0) {
    begin(channel, report);
  } else {
    go_on(channel, report);
  }
  if (!pending_ || pending_->data.size() < pending_->size) return;
  const Message message = *std::exchange(pending_, std::nullopt);
  execute(message);
}

void CtapHid::begin(std::uint32_t channel, const Report& report) {
  const std::size_t size = std::size_t{report[5]} << 8U | report[6];
  const auto command = static_cast<std::uint8_t>(report[4] & ~is_initial);
  if (pending_ && pending_->channel != channel) return send_error(channel, channel_busy);
  if (pending_ && command != init_command) {
    pending_.reset();
    return send_error(channel, invalid_sequence);
  }
  const bool known =
      channel != 0 && (channel == broadcast ? command == init_command : channel <= channels_);
  if (!known) return send_error(channel, invalid_channel);
  if (size > longest) return send_error(channel, invalid_length);
  const std::size_t here = std::min(size, report.size() - initial_header);
  pending_ = Message{.channel = channel,
                     .command = command,
                     .size = size,
                     .next = 0,
                     .data = Bytes(report.begin() + initial_header,
                                   report.begin() + static_cast<long>(initial_header + here)),
                     .since = Clock::now()};
}

void CtapHid::go_on(std::uint32_t channel, const Report& report) {
  // Continuations that belong to nothing are passed over.
  if (!pending_ || pending_->channel != channel) return;
  if (report[4] != pending_->next) {
    pending_.reset();
    return send_error(channel, invalid_sequence);
  }
  ++pending_->next;
  const std::size_t here =
      std::min(pending_->size - pending_->data.size(), report.size() - next_header);
  pending_->data.insert(pending_->data.end(), report.begin() + next_header,
                        report.begin() + static_cast<long>(next_header + here));
}

void CtapHid::execute(const Message& message) {
  switch (message.command) {
    case init_command: return init(message.channel, message.data);
    case ping: return send(message.channel, ping, message.data);
    case cbor_command: {
      busy_ = message.channel;
      const Bytes answer = authenticator_.process(message.data);
      busy_ = 0;
      if (!gone_) send(message.channel, cbor_command, answer);
      return;
    }
    case cancel: return;  // there is nothing to cancel
    default: return send_error(message.channel, invalid_command);
  }
}

void CtapHid::init(std::uint32_t channel, View nonce) {
  if (nonce.size() != 8) return send_error(channel, invalid_length);
  const std::uint32_t given = channel == broadcast ? ++channels_ : channel;
  Bytes answer(nonce.begin(), nonce.end());
  for (const unsigned shift : {24U, 16U, 8U, 0U})
    answer.push_back(static_cast<std::uint8_t>(given >> shift));
  for (const int byte : {2, 1, 0, 0, has_cbor | no_messages})
    answer.push_back(static_cast<std::uint8_t>(byte));
  send(channel, init_command, answer);
}

// While the key blinks, it tells so, can be cancelled, and is busy for everybody else.
Touch CtapHid::touch() {
  const auto begun = Clock::now();
  for (;;) {
    const auto since = std::chrono::duration_cast<milliseconds>(Clock::now() - begun);
    if (hand_.touches(since)) return Touch::given;
    if (since >= hand_.patience()) return Touch::timed_out;
    send(busy_, keepalive, Bytes{wants_touch});
    Report report{};
    switch (link_.receive(report, tick)) {
      case ReportLink::Got::nothing: break;
      case ReportLink::Got::gone: gone_ = true; return Touch::cancelled;
      case ReportLink::Got::report: {
        const std::uint32_t channel = channel_of(report);
        if (channel != busy_) {
          send_error(channel, channel_busy);
        } else if (report[4] == (cancel | is_initial)) {
          return Touch::cancelled;
        }
      }
    }
  }
}

void CtapHid::send(std::uint32_t channel, std::uint8_t command, View data) {
  Report report{};
  put_channel(report, channel);
  report[4] = command | is_initial;
  report[5] = static_cast<std::uint8_t>(data.size() >> 8U);
  report[6] = static_cast<std::uint8_t>(data.size());
  std::size_t here = std::min(data.size(), report.size() - initial_header);
  std::ranges::copy(data.first(here), report.begin() + initial_header);
  link_.send(report);
  data = data.subspan(here);
  for (std::uint8_t sequence = 0; !data.empty(); ++sequence) {
    report = {};
    put_channel(report, channel);
    report[4] = sequence;
    here = std::min(data.size(), report.size() - next_header);
    std::ranges::copy(data.first(here), report.begin() + next_header);
    link_.send(report);
    data = data.subspan(here);
  }
}

void CtapHid::send_error(std::uint32_t channel, std::uint8_t code) {
  send(channel, error_command, Bytes{code});
}

}  // namespace volseal::test
