// What a person wants to see first of a machine: what needs attention, each with the command for
// it, and the rest on one screen. Values and pure functions; cli/status.cpp looks at the machine.
#pragma once

#include "core/coverage/coverage.h"
#include "core/drill/drill.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// What the TPM would say to this group at a boot like this one.
enum class GroupTpm {
  none,  // it has no secret yet
  approved,
  not_approved,
  revoked,       // every approval is
  pending,       // a revocation or PIN change was begun and not finished
  counter_gone,  // from the TPM
  another_tpm,   // sealed it, or this one was cleared
  no_key,        // approved, but nothing further can be
  locked_out,    // too many wrong PINs
  not_asked,     // there was no time for it
  unreachable,
};

struct StatusGroup {
  std::string name;
  std::string tenant;
  std::string environment;
  std::string operators;
  std::size_t volumes = 0;
  GroupTpm tpm = GroupTpm::none;
  std::optional<std::uint64_t> counter;
  std::size_t approvals = 0;
  std::string locked;  // since when, RFC 3339; "": it is not
};

struct StatusBoot {
  std::string how;  // "tpm", "tpm and recovery-key" ...; "" where nothing was opened
  std::chrono::milliseconds took{0};
  std::string latch;
  std::string refusal;
  std::vector<std::string> problems;  // one for each volume that stayed closed, or was odd
  std::vector<std::string>
      used_keys;  // volumes whose recovery key was typed, and is still the same
};

struct StatusUnlock {
  std::string time;
  std::string volume;
  std::string group;
  std::string protector;
  std::string milliseconds;
};

struct StatusLog {
  bool there = false;
  std::uint64_t lines = 0;
  std::uint64_t signed_lines = 0;
  std::string signed_at;  // RFC 3339; "": never
  bool lost = false;      // events found no room
};

struct StatusNextBoot {
  std::string verified_at;
  bool good = false;
  bool outdated = false;  // the initramfs is another one by now
  std::string problem;    // the first of them
};

struct Status {
  Coverage coverage;
  bool root = true;
  std::vector<StatusGroup> groups;
  std::vector<std::string> in_two_groups;  // volumes
  std::optional<StatusBoot> boot;
  std::optional<StatusUnlock> last_unlock;
  std::vector<Drill> drills;
  // Of those who are not root, nothing is known of what follows.
  std::optional<bool> watched;
  std::vector<std::string> quarantined;
  std::size_t findings = 0;  // of the last day
  std::optional<StatusLog> log;
  std::optional<StatusNextBoot> next_boot;
  std::vector<std::string> problems;  // what could not be looked at
};

struct Attention {
  std::string what;     // one sentence, escaped
  std::string command;  // to run next
};

// What is worst first. `now`: RFC 3339, UTC.
std::vector<Attention> attention_of(const Status& status, std::string_view now);

// At most 24 lines, none longer than `options.columns`; what has no room is counted.
std::string to_text(const Status& status, std::string_view now, const TextOptions& options);
// Schema "volseal-status/1", without what the caller adds.
std::string to_json(const Status& status, std::string_view now);

std::string_view to_string(GroupTpm tpm);

}  // namespace volseal
