// CTAPHID (CTAP 2.1 section 11.2): 64-byte reports to commands and back; one transaction at a time.
#pragma once

#include "tests/support/softkey/authenticator.h"

#include <array>
#include <chrono>
#include <optional>

namespace volseal::test {

using Report = std::array<std::uint8_t, 64>;

// Where reports come from and go to.
class ReportLink {
 public:
  enum class Got { report, nothing, gone };

  ReportLink() = default;
  ReportLink(const ReportLink&) = delete;
  ReportLink& operator=(const ReportLink&) = delete;
  ReportLink(ReportLink&&) = delete;
  ReportLink& operator=(ReportLink&&) = delete;
  virtual ~ReportLink() = default;

  virtual Got receive(Report& report, std::chrono::milliseconds wait) = 0;
  virtual void send(const Report& report) = 0;
};

// What the person does, asked for about every 50 ms while the key blinks.
class Hand {
 public:
  Hand() = default;
  Hand(const Hand&) = delete;
  Hand& operator=(const Hand&) = delete;
  Hand(Hand&&) = delete;
  Hand& operator=(Hand&&) = delete;
  virtual ~Hand() = default;

  virtual bool touches(std::chrono::milliseconds since) = 0;
  virtual bool known_finger() = 0;
  virtual std::chrono::milliseconds patience() = 0;  // of the key
};

class CtapHid final : private Person {
 public:
  CtapHid(ReportLink& link, Hand& hand, KeyModel model, Path state_file);

  // Until the link is gone.
  void serve();
  Authenticator& authenticator() { return authenticator_; }

 private:
  struct Message {
    std::uint32_t channel = 0;
    std::uint8_t command = 0;
    std::size_t size = 0;
    int next = 0;  // sequence number of the next continuation
    Bytes data;
    std::chrono::steady_clock::time_point since;
  };

  Touch touch() override;
  bool known_finger() override { return hand_.known_finger(); }

  void take(const Report& report);
  void begin(std::uint32_t channel, const Report& report);
  void go_on(std::uint32_t channel, const Report& report);
  void execute(const Message& message);
  void init(std::uint32_t channel, View nonce);
  void send(std::uint32_t channel, std::uint8_t command, View data);
  void send_error(std::uint32_t channel, std::uint8_t code);

  ReportLink& link_;
  Hand& hand_;
  Authenticator authenticator_;
  std::optional<Message> pending_;
  std::uint32_t busy_ = 0;  // the channel whose command is being executed
  std::uint32_t channels_ = 0;
  bool gone_ = false;
};

}  // namespace volseal::test
