// How the watch tells: a line each, the audit log and with it the journal, a command, metrics.
#pragma once

#include "core/audit/audit.h"
#include "core/watch/errands.h"
#include "core/watch/metrics.h"

#include <map>
#include <span>
#include <string>

namespace volseal {

// Neither a full disk nor a reader that went away stops the watch: each is said on the other ways.
class WatchTeller {
 public:
  // `wall`: what needs attention goes to everybody who is logged in, too.
  WatchTeller(AuditLog log, Errands& errands, bool json, bool wall)
      : log_(std::move(log)), errands_(errands), json_(json), wall_(wall) {}

  // Who is told is the policy's word.
  void follow(const WatchPolicy& policy) { policy_ = policy; }

  void tell(std::span<const Finding> findings);
  void note(const std::string& action, std::map<std::string, std::string> detail);
  // Writes the metrics, where the policy wants them: at most once a second.
  void account(WatchFigures figures);

 private:
  void record(std::span<const Event> events) const;
  void tell_command(std::span<const Finding> findings);
  static void tell_everybody(std::span<const Finding> findings);

  AuditLog log_;
  Errands& errands_;
  bool json_;
  bool wall_;
  WatchPolicy policy_;
  std::map<Happening, std::uint64_t> findings_;
  std::uint64_t not_told_ = 0;
  std::int64_t accounted_ms_ = 0;
};

}  // namespace volseal
