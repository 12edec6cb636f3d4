#include "core/audit/audit.h"

#include "core/audit/checkpoint.h"
#include "core/audit/gap.h"
#include "core/audit/journal.h"
#include "core/audit/locked_log.h"
#include "core/audit/record.h"
#include "core/base/clock.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/log.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t room_to_spare = 64U << 10U;

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

// A log that is read years later must not need the policy of that day.
Event owned(Event event, const std::map<std::string, GroupOwner>& owners) {
  const auto found = owners.find(event.group);
  if (found == owners.end()) return event;
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) event.detail.emplace(key, value);
  };
  add("tenant", found->second.tenant);
  add("environment", found->second.environment);
  return event;
}

}  // namespace

AuditLog::AuditLog(Path path, std::string_view verb)
    : AuditLog(AuditPlace{.log = std::move(path), .rules = {}}, verb) {}

AuditLog::AuditLog(AuditPlace place, std::string_view verb)
    : place_(std::move(place)), actor_(this_actor(verb)) {}

AuditLog::AuditLog(AuditPlace place, Actor actor)
    : place_(std::move(place)), actor_(std::move(actor)) {}

void AuditLog::record(const Event& event) const {
  record_all({&event, 1});
}

std::vector<AuditRecord> AuditLog::append(audit::LockedLog& log,
                                          std::span<const Event> events) const {
  std::vector<AuditRecord> records;
  const auto add = [&](const Event& event) {
    records.push_back({.time = utc_now(),
                       .boot_ms = since_boot().count(),
                       .boot_id = boot_id(),
                       .host = host_name(),
                       .who = actor_,
                       .event = owned(event, place_.owners)});
  };
  const auto lost = audit::Lost::take(place_.rules.gap);
  for (const Event& event : log.first_events()) add(event);
  if (lost) add(lost->event());
  for (const Event& event : events) add(event);
  bool starts = false;
  std::string prev = log.tail().prev;
  std::uint64_t seq = log.tail().seq;
  std::string text = log.tail().torn ? "\n" : "";
  for (AuditRecord& record : records) {
    record.seq = ++seq;
    record.prev = prev;
    const std::string line = audit::to_line(record);
    prev = sha256_hex(line);
    text += line;
    text += '\n';
    starts = starts || record.event.outcome == audit_started;
  }
  if (starts && !place_.rules.go_on_when_full) log.reserve(text.size() + room_to_spare);
  log.append(text, place_.rules.sync_always);
  if (lost) lost->settle();
  return records;
}

void AuditLog::record_all(std::span<const Event> events) const {
  if (events.empty()) return;
  std::vector<AuditRecord> records;
  try {
    auto log = audit::LockedLog::open(place_);
    records = append(log, events);
    const std::uint64_t every = place_.rules.checkpoint_every;
    const std::uint64_t last = records.back().seq;
    const bool due = every != 0 && last / every != (last - records.size()) / every;
    if (due || records.front().event.action == audit::rotated) log.write_checkpoint();
  } catch (const Error& error) {
    for (const Event& event : events)
      audit::send_to_journal({.who = actor_, .event = event}, false);
    if (error.code() != Code::no_space) throw;
    audit::note_lost(place_.rules.gap, events);
    if (!place_.rules.go_on_when_full) throw;
    log::warning("NOT in the audit log, and the policy says to go on: {}", error.what());
    return;
  }
  for (const AuditRecord& record : records) audit::send_to_journal(record, true);
}

}  // namespace volseal
