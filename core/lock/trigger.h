// When a group is locked by policy: signs of tampering, and failed attempts within a window. Pure.
#pragma once

#include "core/audit/audit.h"
#include "core/device/device.h"
#include "core/policy/lock.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// This moment, by both clocks.
struct Now {
  std::chrono::milliseconds wall{0};  // since 1970
  std::chrono::milliseconds boot{0};  // since this boot began
  std::string boot_id;
};

// A wrong key, passphrase or PIN. That a TPM is absent, or does not open because of a firmware
// update, nobody has tried.
bool is_failed_attempt(const Event& event);

// Counts the failed attempts on one group, given the events of the log in their order. Those before
// the group was last opened again by recovery count no more. Within a boot the boot clock counts,
// so that setting the clock changes nothing; between boots there is only the other one.
class FailureCount {
 public:
  // `volumes`: LUKS UUIDs of the group's volumes; attempts by a key say no group.
  FailureCount(std::string group, std::set<std::string> volumes, LockAfter limit, Now now);

  void take(const AuditRecord& record);

  int count() const { return static_cast<int>(at_.size()); }
  // "5 failed attempts within 10 minutes, the last on /dev/sdb by recovery-key"; nothing where
  // there are fewer.
  std::optional<std::string> reason() const;

 private:
  bool concerns(const Event& event) const;
  bool is_within(const AuditRecord& record) const;

  std::string group_;
  std::set<std::string> volumes_;
  LockAfter limit_;
  Now now_;
  std::vector<std::uint64_t> at_;  // numbers of the events that count
  std::string last_;
  std::int64_t recover_pid_ = 0;  // an attempt of recover is a drill as well
};

// What is different in the header of an enrolled volume, one sentence each; empty: nothing that
// bears on who can open it and on what is encrypted how. Tokens may change: approvals, escrow.
std::vector<std::string> header_changes(const LuksHeader& was, const LuksHeader& is);

// An event that volseal itself records before and after it changes a header. `volume`, `luks_uuid`:
// whose header was seen changed.
bool explains_change(const AuditRecord& record, std::string_view luks_uuid,
                     std::string_view boot_id, std::chrono::milliseconds since);

}  // namespace volseal
