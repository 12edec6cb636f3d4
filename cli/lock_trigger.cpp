#include "cli/lock_trigger.h"

#include "cli/lock_down.h"
#include "cli/world.h"
#include "core/audit/reader.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/discover/discover.h"
#include "core/lock/trigger.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace volseal {

namespace {

struct Tried {
  std::set<std::string> uuids;
  std::vector<Path> volumes;
};

bool is_tampering(Outcome outcome) {
  return outcome == Outcome::tampered || outcome == Outcome::forged;
}

bool is_failure(const Attempt& attempt) {
  return is_failed_attempt(
      {.action = "unlock", .outcome = std::string(to_string(attempt.outcome)), .detail = {}});
}

// Of an attempt by a key nobody has looked at the group.
std::string group_of(const Attempt& attempt) {
  if (!attempt.group.empty()) return attempt.group;
  const Volume volume = Volume::load(attempt.device);
  const auto token = volume.version() == 2 ? find_group_token(volume) : std::nullopt;
  return token ? token->token.group : "";
}

void carry_out(const Options& options, const LockRequest& request) {
  if (load_lock(options.state, request.group)) return;
  log::warning("group {} is being locked, as the policy wants it: {}", escaped(request.group),
               escaped(request.reason, 800));
  const LockedDown done = lock_down(options, request);
  for (const std::string& problem : done.problems) log::warning("{}", problem);
  for (const LockedDown::One& one : done.volumes) {
    if (one.state == LockedDown::State::busy)
      log::warning("{} is still open as {}", escaped(one.volume.path), escaped(one.volume.mapping));
  }
}

std::set<std::string> volumes_of(const std::string& group) {
  std::set<std::string> uuids;
  for (const Device& device : scan().devices) {
    if (!device.luks) continue;
    for (const Token& token : device.luks->tokens) {
      if (token.group == group) uuids.insert(device.luks->uuid);
    }
  }
  return uuids;
}

std::optional<std::string> why_too_many(const Options& options, const std::string& group,
                                        const LockAfter& limit,
                                        const std::set<std::string>& tried) {
  std::set<std::string> uuids = volumes_of(group);
  uuids.insert(tried.begin(), tried.end());
  FailureCount count(group, std::move(uuids), limit,
                     {.wall = std::chrono::duration_cast<std::chrono::milliseconds>(
                          std::chrono::system_clock::now().time_since_epoch()),
                      .boot = since_boot(),
                      .boot_id = boot_id()});
  for_each_event(audit_log_of(options).log, "",
                 [&](const AuditRecord& record, auto) { count.take(record); });
  return count.reason();
}

}  // namespace

Path lock_reason_place(const std::string& group) {
  return Path("/run/volseal/tamper") / group;
}

namespace {

// `volume`: where it was seen; "" where that is no volume of the group.
void answer_tampering(const Options& options, const std::string& group, const std::string& reason,
                      const Path& volume) {
  try {
    const OnTamper answer = load_lock_rules(options.policy)[group].on_tamper;
    if (answer == OnTamper::tell) return;
    LockRequest request;
    request.group = group;
    request.reason = reason;
    request.trigger = "tamper";
    request.closes = answer == OnTamper::lock;
    if (!volume.empty()) request.more = {volume};
    carry_out(options, request);
  } catch (const Error& error) {
    log::warning("group {} is not locked, though the policy wants it: {}", escaped(group),
                 error.what());
  }
}

void answer_failures(const Options& options, const std::string& group, const Tried& tried) {
  try {
    const auto limit = load_lock_rules(options.policy)[group].lock_after;
    if (!limit || load_lock(options.state, group)) return;
    const auto why = why_too_many(options, group, *limit, tried.uuids);
    if (!why) return;
    LockRequest request;
    request.group = group;
    request.reason = *why;
    request.trigger = "failures";
    request.more = tried.volumes;
    carry_out(options, request);
  } catch (const Error& error) {
    log::warning("group {} is not locked, though the policy wants it: {}", escaped(group),
                 error.what());
  }
}

}  // namespace

void follow_tampering(const Options& options, const std::string& group, const std::string& reason) {
  answer_tampering(options, group, reason, {});
}

void follow_attempts(const Options& options, std::span<const Attempt> attempts) {
  std::map<std::string, Tried> failed;  // by group
  for (const Attempt& attempt : attempts) {
    try {
      if (!is_tampering(attempt.outcome) && !is_failure(attempt)) continue;
      const std::string group = group_of(attempt);
      if (group.empty()) continue;
      if (is_tampering(attempt.outcome)) {
        answer_tampering(options, group,
                         fmt::format("{}: {}", attempt.device.native(), attempt.reason),
                         attempt.device);
      } else {
        failed[group].uuids.insert(attempt.luks_uuid);
        failed[group].volumes.push_back(attempt.device);
      }
    } catch (const Error& error) {
      log::detail("{}", error.what());
    }
  }
  for (const auto& [group, tried] : failed) answer_failures(options, group, tried);
}

}  // namespace volseal
