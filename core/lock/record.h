// STATE/locks/GROUP.json: a group that is locked down, or is being so. Schema "volseal-lock/1".
// Root-only, whole or absent after a power cut. It is written before anything else is done, so
// that from that moment on every verb refuses, whatever a cut leaves undone.
#pragma once

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/protect/lock_token.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct LockRecord {
  LockNote note;
  std::string trigger;        // "" by hand; "tamper", "failures" by the policy
  bool closes = true;         // else what is open stays open: on_tamper = "revoke"
  bool complete = false;      // everything was done that is not up to others
  bool lifting = false;       // two factors have opened a volume: the group may begin anew
  std::string sealed_sha256;  // of the group's master copy: the one that was locked
};

// Throws Error{damaged}.
LockRecord parse_lock_record(std::string_view json);
std::string to_json(const LockRecord& record);

// Nothing where the group is not locked. A record that cannot be read throws Error{damaged}: what
// was locked does not open because a file is broken.
std::optional<LockRecord> load_lock(const Path& state, const std::string& group);
void save_lock(const Path& state, const LockRecord& record);
void remove_lock(const Path& state, const std::string& group);

// The groups that have a record there, sorted.
std::vector<std::string> locked_groups(const Path& state);

// Only 'volseal recover' helps, which the hint for it says.
class LockedError : public Error {
 public:
  LockedError(std::string_view doing, const LockNote& note);
};

// Throws LockedError, "DOING: group default was locked on ...", where it is, and not being lifted.
void refuse_locked(const Path& state, const std::string& group, std::string_view doing);

}  // namespace volseal
