// The firmware's log of what it measured: TCG PC Client Platform Firmware Profile 1.06, chapter 10.
//
// The log is a claim; the PCRs are the proof. replay() says where the claim leads.
#pragma once

#include "core/base/base64.h"
#include "tpm/pcr.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::tpm {

struct Event {
  int pcr = 0;
  std::uint32_t type = 0;
  std::map<std::string, Bytes> digests;  // by bank: "sha1", "sha256" ...
  Bytes data;
};

struct EventLog {
  std::vector<std::string> banks;  // as the header lists them; {"sha1"} for the old format
  std::vector<Event> events;       // without EV_NO_ACTION, which extends nothing
  int startup_locality = 0;        // PCR 0 begins with it

  static constexpr std::size_t max_size = 4U << 20U;
  static constexpr std::size_t max_events = 16384;
};

// Both formats: crypto-agile (TCG_PCR_EVENT2 after a "Spec ID Event03" header) and SHA-1 only.
// Strict and bounded: throws Error{damaged} with the offset of what contradicts itself.
EventLog parse_event_log(std::span<const std::uint8_t> log);

// What the PCRs of `bank` should be after the logged events: those PCRs that occur in it.
PcrValues replay(const EventLog& log, std::string_view bank);

// What an event was about, for people: "dbx", "the boot loader \EFI\debian\shimx64.efi". Escaped.
std::string describe(const Event& event);
// What it means that this event is not the approved one: "dbx was updated".
std::string describe_change(const Event& event, std::string_view bank);

// "Secure Boot policy": what a PCR is for, where no log says more.
std::string_view meaning_of_pcr(int pcr);

}  // namespace volseal::tpm
