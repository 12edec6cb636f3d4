// The append-only log of what was done: one JSON line an event, schema "volseal-audit/1"
// (docs/audit.md).
//
// Every line carries the SHA-256 of the line before it. The journal gets each event too, where
// there is one. No event may carry a secret.
#pragma once

#include "core/base/file.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// What is known of an act before it is done: the log must have room for this and for what follows.
inline constexpr std::string_view audit_started = "started";

struct Event {
  std::string action;          // "enroll.start", "keyslot.add", "unlock", "watch.finding" ...
  std::string outcome = "ok";  // "ok", "failed", "refused", audit_started ...
  std::string volume;          // the node that people use; "" where it is about none
  std::string luks_uuid;
  std::string group;
  // "summary", where there is one, is the journal's message.
  std::map<std::string, std::string> detail;  // at most 32, each at most 1 KiB; the rest is cut
};

// Who did it, as far as the kernel and logind say; `ssh` is the environment's word only.
struct Actor {
  std::optional<std::uint32_t> loginuid;  // of the person who logged in, however often they sudo'ed
  std::uint32_t uid = 0;
  std::uint32_t euid = 0;
  std::string tty;      // the controlling terminal
  std::string session;  // logind's
  std::string remote;   // the host that the session came from, logind's word
  std::string ssh;      // SSH_CONNECTION, of this process or of one that it descends from
  std::string unit;     // systemd's
  std::int64_t pid = 0;
  std::string program;
  std::string verb;
};

Actor this_actor(std::string_view verb);
// Of a process that asked us for something, with what its socket says of it (SO_PEERCRED). What
// procfs and logind say of it may be another process's of the same user, if it has ended since.
Actor actor_of(std::int64_t pid, std::uint32_t uid, std::string_view verb);

struct AuditRecord {
  std::uint64_t seq = 0;  // from 1
  std::string time;       // RFC 3339, UTC
  std::int64_t boot_ms = 0;
  std::string boot_id;
  std::string host;
  Actor who;
  Event event;
  std::string prev;  // SHA-256 of the line before, hexadecimal; zeros in the first line
};

// How the log is kept: [audit] of policy.toml.
struct AuditRules {
  bool sync_always = true;               // else only what a checkpoint covers is sure to be on disk
  bool go_on_when_full = false;          // else what cannot be recorded is not done
  std::uint64_t rotate_at = 64U << 20U;  // bytes, at which a file is closed; 0: never
  std::uint64_t checkpoint_every = 1000;  // events; 0: none by themselves
  Path gap;  // counts, on another file system, what found no room; empty: nothing does
};

// Whose a group is, by the policy of the moment.
struct GroupOwner {
  std::string tenant;
  std::string environment;
};

struct AuditPlace {
  Path log;
  AuditRules rules;
  // By group: an event of one gets the details "tenant" and "environment".
  std::map<std::string, GroupOwner> owners;
};

namespace audit {
class LockedLog;
}

class AuditLog {
 public:
  // Opens nothing yet. `verb`: what the person asked for, "enroll", "watch" ...
  explicit AuditLog(Path path, std::string_view verb = {});
  explicit AuditLog(AuditPlace place, std::string_view verb = {});
  // On somebody else's behalf.
  AuditLog(AuditPlace place, Actor actor);

  // On disk when it returns (one write, then fsync); the file and its folder are made where they
  // are missing, for root only. Waits for other writers, up to ten seconds (then Error{busy}).
  //
  // Throws Error{no_space} with the log as it was where there is no room. An event whose outcome is
  // `audit_started` also needs 64 KiB to spare, which are kept for what follows it: so the act is
  // not begun, rather than done and not recorded.
  //
  // A last line that a power cut tore is closed by a newline, and "audit.recovered" recorded first;
  // so are "audit.rotated", "audit.clock" and "audit.gap" (docs/audit.md).
  void record(const Event& event) const;
  // Several in one write and one fsync.
  void record_all(std::span<const Event> events) const;

  const Path& path() const { return place_.log; }

 private:
  std::vector<AuditRecord> append(audit::LockedLog& log, std::span<const Event> events) const;

  AuditPlace place_;
  Actor actor_;
};

struct AuditFlaw {
  std::size_t line = 0;  // from 1; 0: it is about the whole file
  std::string what;      // "not an event", "number 5 follows number 3" ...
  Path file;
};

struct AuditReading {
  std::vector<AuditRecord> records;
  std::vector<AuditFlaw> flaws;
};

// All of it, for a log of few events; for others there are for_each_event() and verify_audit_log().
//
// Strict: a line with a key too many, too few or of the wrong type is a flaw and no record, and so
// is one that does not follow from the line before. A torn line followed by its "audit.recovered"
// is no flaw. Throws Error{damaged} beyond `limit` bytes, Error{not_found} where there is no log.
AuditReading read_audit_log(const Path& path, std::size_t limit = 64U << 20U);

}  // namespace volseal
