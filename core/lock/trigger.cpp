#include "core/lock/trigger.h"

#include "core/base/clock.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace volseal {

namespace {

constexpr std::string_view lifted = "lock.lift";

std::string detail_of(const Event& event, const char* name) {
  const auto found = event.detail.find(name);
  return found == event.detail.end() ? "" : found->second;
}

}  // namespace

bool is_failed_attempt(const Event& event) {
  static constexpr std::array<std::string_view, 5> actions = {"unlock", "unlock.test", "recover",
                                                              "protector.test", "drill"};
  static constexpr std::array<std::string_view, 4> outcomes = {"wrong-secret", "wrong-pin",
                                                               "locked-out", "pin-blocked"};
  return std::ranges::find(actions, event.action) != actions.end() &&
         std::ranges::find(outcomes, event.outcome) != outcomes.end();
}

FailureCount::FailureCount(std::string group, std::set<std::string> volumes, LockAfter limit,
                           Now now)
    : group_(std::move(group)), volumes_(std::move(volumes)), limit_(limit), now_(std::move(now)) {}

bool FailureCount::concerns(const Event& event) const {
  return event.group == group_ || (!event.luks_uuid.empty() && volumes_.contains(event.luks_uuid));
}

bool FailureCount::is_within(const AuditRecord& record) const {
  const std::chrono::milliseconds window = std::chrono::minutes(limit_.minutes);
  if (record.boot_id == now_.boot_id)
    return now_.boot - std::chrono::milliseconds(record.boot_ms) <= window;
  const auto time = parse_time(record.time);
  // One of the future is of a clock that was set back since: it counts.
  return time && now_.wall - *time <= window;
}

void FailureCount::take(const AuditRecord& record) {
  const Event& event = record.event;
  if (event.action == lifted && event.group == group_) {
    at_.clear();
    return;
  }
  if (!is_failed_attempt(event) || !concerns(event) || !is_within(record)) return;
  const bool told_twice = event.action == "drill" && record.who.pid == recover_pid_;
  recover_pid_ = event.action == "recover" ? record.who.pid : 0;
  if (told_twice) return;
  at_.push_back(record.seq);
  std::string way = detail_of(event, "protector");
  if (way.empty()) way = detail_of(event, "kind");
  last_ = fmt::format("{}{}{}", event.volume, way.empty() ? "" : " by ", way);
}

std::optional<std::string> FailureCount::reason() const {
  if (count() < limit_.failures) return std::nullopt;
  return fmt::format("{} failed attempts within {} minutes, the last on {}", count(),
                     limit_.minutes, last_);
}

std::vector<std::string> header_changes(const LuksHeader& was, const LuksHeader& is) {
  std::vector<std::string> changes;
  if (!is.damage.empty()) changes.push_back("its header cannot be read: " + is.damage);
  if (was.uuid != is.uuid) changes.emplace_back("it has another UUID");
  // While it is re-encrypted the segments change all the time.
  if (was.reencryption.empty() && is.reencryption.empty() && was.segments != is.segments)
    changes.emplace_back("its segments changed: cipher, offset, size or sector size");
  const auto find = [](const LuksHeader& header, const Keyslot& slot) {
    return std::ranges::find(header.keyslots, slot.fingerprint, &Keyslot::fingerprint) !=
           header.keyslots.end();
  };
  for (const Keyslot& slot : is.keyslots) {
    if (slot.type != "reencrypt" && !find(was, slot))
      changes.push_back(fmt::format("keyslot {} was added or replaced", slot.id));
  }
  for (const Keyslot& slot : was.keyslots) {
    const bool same_number =
        std::ranges::find(is.keyslots, slot.id, &Keyslot::id) != is.keyslots.end();
    if (slot.type != "reencrypt" && !find(is, slot) && !same_number)
      changes.push_back(fmt::format("keyslot {} was removed", slot.id));
  }
  return changes;
}

bool explains_change(const AuditRecord& record, std::string_view luks_uuid,
                     std::string_view boot_id, std::chrono::milliseconds since) {
  static constexpr std::array<std::string_view, 9> acts = {"protector.", "keyslot.", "enroll.",
                                                           "decrypt.",   "header.",  "recover",
                                                           "erase",      "lock",     "escrow."};
  const Event& event = record.event;
  return event.luks_uuid == luks_uuid && record.boot_id == boot_id &&
         std::chrono::milliseconds(record.boot_ms) >= since &&
         std::ranges::any_of(acts,
                             [&](std::string_view act) { return event.action.starts_with(act); });
}

}  // namespace volseal
