#include "core/base/clock.h"
#include "core/base/escape.h"
#include "core/coverage/drill_ages.h"
#include "core/status/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace volseal {

namespace {

// A checkpoint is due every hour; one that is missed may be a machine that slept.
constexpr std::chrono::hours longest_unsigned(3);

std::string named(const VolumeVerdict& volume) {
  const std::string owner = owner_words(volume.tenant, volume.environment);
  return fmt::format("{}{}", escaped(volume.path),
                     owner.empty() ? "" : fmt::format(" ({})", owner));
}

// "/dev/sda, /dev/sdb and 3 more"
std::string some_of(const std::vector<std::string>& names) {
  constexpr std::size_t shown = 2;
  std::string text;
  for (std::size_t at = 0; at < std::min(names.size(), shown); ++at)
    text += (at == 0 ? "" : ", ") + names[at];
  if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

std::string are(std::size_t count) {
  return fmt::format("{} volume{}", count, count == 1 ? " is" : "s are");
}

class Attentive {
 public:
  Attentive(const Status& status, std::string_view now) : status_(status), now_(now) {}

  std::vector<Attention> look() {
    locked_groups();
    verdict(Verdict::not_covered, "not encrypted", "volseal plan");
    quarantine();
    two_groups();
    boot();
    groups();
    next_boot();
    log();
    watch();
    verdict(Verdict::suspended, "suspended, and can neither be read nor written",
            "dmsetup info; dmsetup resume NAME");
    verdict(Verdict::converting, "encrypted in part", "volseal enroll");
    verdict(Verdict::unknown, "not to be judged", "volseal scan");
    drills();
    weak();
    backups();
    for (const std::string& problem : status_.problems) add(on_one_line(problem), "volseal check");
    return std::move(found_);
  }

 private:
  void add(std::string what, std::string command) {
    found_.push_back({.what = std::move(what), .command = std::move(command)});
  }

  static std::string words(const StatusGroup& group) {
    return group_words(
        {.name = group.name, .tenant = group.tenant, .environment = group.environment});
  }

  void locked_groups() {
    for (const StatusGroup& group : status_.groups) {
      if (!group.locked.empty())
        add(fmt::format("{} is locked down since {}", words(group), escaped(group.locked)),
            "volseal recover");
    }
  }

  void verdict(Verdict wanted, std::string_view words, std::string command) {
    std::vector<std::string> names;
    for (const VolumeVerdict& volume : status_.coverage.volumes) {
      if (volume.verdict == wanted) names.push_back(named(volume));
    }
    if (!names.empty())
      add(fmt::format("{} {}: {}", are(names.size()), words, some_of(names)), std::move(command));
  }

  void quarantine() {
    std::vector<std::string> names;
    names.reserve(status_.quarantined.size());
    for (const std::string& path : status_.quarantined) names.push_back(escaped(path));
    if (!names.empty())
      add(fmt::format("in quarantine: {}", some_of(names)), "volseal quarantine list");
  }

  void two_groups() {
    for (const std::string& path : status_.in_two_groups) {
      add(fmt::format("{} is in two groups at once", escaped(path)),
          fmt::format("volseal protector list {}", escaped(path)));
    }
    for (const VolumeVerdict& volume : status_.coverage.volumes) {
      if (volume.group.empty() || volume.group == volume.policy_group) continue;
      add(fmt::format("{} is enrolled in group {}, and the policy says {}", named(volume),
                      escaped(volume.group), escaped(volume.policy_group)),
          fmt::format("volseal protector list {}", escaped(volume.path)));
    }
  }

  void boot() {
    if (!status_.boot) return;
    if (!status_.boot->refusal.empty())
      add(fmt::format("the TPM refused at boot: {}", escaped(status_.boot->refusal)),
          "volseal tpm explain");
    for (const std::string& volume : status_.boot->used_keys) {
      add(fmt::format("the recovery key of {} was used", escaped(volume)),
          fmt::format("volseal recover --replace {}", escaped(volume)));
    }
    std::vector<std::string> problems;
    for (const std::string& problem : status_.boot->problems) problems.push_back(escaped(problem));
    if (!problems.empty())
      add(fmt::format("at boot: {}", some_of(problems)), "volseal audit show --action unlock");
  }

  void groups() {
    for (const StatusGroup& group : status_.groups) {
      // What a lock-down leaves behind is meant to be so.
      if (!group.locked.empty()) continue;
      const auto tell = [&](std::string_view what, std::string command) {
        add(fmt::format("{}: {}", words(group), what), std::move(command));
      };
      const std::string name = escaped(group.name);
      switch (group.tpm) {
        case GroupTpm::none:
        case GroupTpm::approved:
        case GroupTpm::not_asked: break;
        case GroupTpm::not_approved:
          tell("the TPM does not open it in this boot", "volseal tpm explain --group " + name);
          break;
        case GroupTpm::revoked:
          tell("every approval is revoked", "volseal tpm approve --group " + name);
          break;
        case GroupTpm::pending:
          tell("a revocation was begun and not finished", "volseal tpm revoke --group " + name);
          break;
        case GroupTpm::counter_gone:
          tell("its counter is gone from the TPM", "volseal recover");
          break;
        case GroupTpm::another_tpm:
          tell("another TPM sealed it, or this one was cleared", "volseal recover");
          break;
        case GroupTpm::no_key:
          tell("its policy key is missing", "volseal tpm status --group " + name);
          break;
        case GroupTpm::locked_out:
          tell("the TPM is locked out by wrong PINs", "volseal tpm status --group " + name);
          break;
        case GroupTpm::unreachable:
          tell("the TPM cannot be asked", "volseal tpm status --group " + name);
          break;
      }
    }
  }

  void next_boot() {
    if (!status_.next_boot) return;
    const StatusNextBoot& next = *status_.next_boot;
    if (next.outdated) {
      add("the initramfs is another one than was verified", "volseal verify-next-boot");
    } else if (!next.good) {
      add(fmt::format("the next boot does not open every volume{}{}",
                      next.problem.empty() ? "" : ": ", escaped(next.problem)),
          "volseal verify-next-boot");
    }
  }

  void log() {
    if (!status_.log) return;
    const StatusLog& log = *status_.log;
    if (log.lost) add("the audit log had no room for some events", "volseal audit verify");
    if (log.lines < log.signed_lines)
      add("the audit log has fewer lines than were signed", "volseal audit verify");
    const auto then = parse_time(log.signed_at);
    const auto today = parse_time(now_);
    const bool late = then && today && *today - *then > longest_unsigned;
    if (log.lines > log.signed_lines && late) {
      add(fmt::format("the audit log was signed last on {}", escaped(log.signed_at)),
          "systemctl status volseal-audit.timer");
    }
  }

  void watch() {
    if (status_.watched == false)
      add("nobody watches what is plugged in", "systemctl start volseal-watch.service");
  }

  void drills() {
    std::vector<std::string> overdue;
    for (const VolumeVerdict& volume : status_.coverage.volumes) {
      for (const DrillAge& age : volume.drills) {
        if (age.overdue)
          overdue.push_back(fmt::format("keyslot {} of {}", age.keyslot, named(volume)));
      }
    }
    if (!overdue.empty()) add(fmt::format("a drill is due: {}", some_of(overdue)), "volseal drill");
  }

  void weak() {
    std::vector<std::string> names;
    for (const VolumeVerdict& volume : status_.coverage.volumes) {
      if (volume.verdict != Verdict::covered_weak) continue;
      // Nothing but what is told above of it.
      const auto due = static_cast<std::size_t>(
          std::ranges::count_if(volume.drills, [](const DrillAge& age) { return age.overdue; }));
      if (volume.reasons.size() > due) names.push_back(named(volume));
    }
    if (!names.empty())
      add(fmt::format("{} covered, and weaker than the policy asks: {}", are(names.size()),
                      some_of(names)),
          "volseal check");
  }

  void backups() {
    std::vector<std::string> names;
    std::string first;
    for (const VolumeVerdict& volume : status_.coverage.volumes) {
      if (volume.luks_uuid.empty() || !volume.header_backup.empty() || !status_.root ||
          volume.verdict == Verdict::exempt)
        continue;
      if (names.empty()) first = escaped(volume.path);
      names.push_back(named(volume));
    }
    if (!names.empty())
      add(fmt::format("no backup of the header: {}", some_of(names)),
          "volseal header backup " + first);
  }

  const Status& status_;
  std::string_view now_;
  std::vector<Attention> found_;
};

}  // namespace

std::vector<Attention> attention_of(const Status& status, std::string_view now) {
  return Attentive(status, now).look();
}

std::string_view to_string(GroupTpm tpm) {
  switch (tpm) {
    case GroupTpm::none: return "none";
    case GroupTpm::approved: return "approved";
    case GroupTpm::not_approved: return "not-approved";
    case GroupTpm::revoked: return "revoked";
    case GroupTpm::pending: return "pending";
    case GroupTpm::counter_gone: return "counter-gone";
    case GroupTpm::another_tpm: return "another-tpm";
    case GroupTpm::no_key: return "no-key";
    case GroupTpm::locked_out: return "locked-out";
    case GroupTpm::not_asked: return "not-asked";
    case GroupTpm::unreachable: return "unreachable";
  }
  return "none";
}

}  // namespace volseal
