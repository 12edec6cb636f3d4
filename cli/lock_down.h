// Locking a group down: the steps, in an order that a cut cannot undo.
#pragma once

#include "cli/verb.h"
#include "core/lock/plan.h"
#include "core/lock/record.h"

#include <string>
#include <vector>

namespace volseal {

struct LockRequest {
  std::string group;
  std::string reason = "asked for by hand";
  std::string trigger;     // as in LockRecord
  bool closes = true;      // what nobody uses is closed
  bool unmount = false;    // what is mounted or swapped to is put away first, by plain umount
  bool unproven = false;   // also where not every volume has a proven way in of two factors
  std::vector<Path> more;  // image files, which no scan finds
};

// What would be locked, and what speaks against it.
struct LockAssessment {
  DeviceGraph graph;
  LockPlan plan;
  std::vector<std::string> foreign;   // volumes of another machine's group of that name
  std::vector<std::string> problems;  // why it must not be done, or not without `unproven`
  bool impossible = false;            // not even with it: nobody would ever get in again
};

// Throws Error{not_found} where there is no such group.
LockAssessment assess_lock(const Options& options, const LockRequest& request);

struct LockedDown {
  enum class State { closed, was_closed, busy, left_open };
  struct One {
    LockedVolume volume;
    State state = State::was_closed;
    std::vector<std::string> busy;  // who has it
    std::string problem;            // what could not be done to its header
  };
  LockRecord record;
  std::vector<One> volumes;
  std::vector<std::string> foreign;
  std::vector<std::string> problems;  // what could not be done; the same command goes on
  bool tpm_failed = false;            // one of them: the TPM's approvals may still hold

  bool all_closed() const;
};
std::string_view to_string(LockedDown::State state);

// Locks it, or goes on with what a cut left: then reason and who are those of the first time.
// Recorded before anything is done, and afterwards. What fails does not keep the rest from being
// done, and is in `problems`. Throws Error{unsafe} where people could not get in any more.
LockedDown lock_down(const Options& options, const LockRequest& request);

}  // namespace volseal
