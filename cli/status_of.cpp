#include "cli/status_of.h"

#include "cli/operator_view.h"
#include "cli/recover_used.h"
#include "cli/world.h"
#include "core/audit/checkpoint.h"
#include "core/audit/record.h"
#include "core/audit/tail.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/strict_json.h"
#include "core/coverage/ways_in.h"
#include "core/discover/discover.h"
#include "core/lock/record.h"
#include "core/luks/backup.h"
#include "core/watch/book.h"
#include "tpm/approval.h"
#include "tpm/connection.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <utility>

namespace volseal {

namespace {

using namespace std::chrono_literals;

constexpr auto device_patience = 1000ms;
constexpr auto tpm_patience = 700ms;
constexpr std::uint64_t end_of_log = 256U << 10U;
constexpr std::string_view next_boot_schema = "volseal-next-boot-note/1";

GroupTpm said_by_tpm(const tpm::GroupStatus& group) {
  if (!group.our_tpm) return GroupTpm::another_tpm;
  if (!group.counter) return GroupTpm::counter_gone;
  if (group.revocation_pending) return GroupTpm::pending;
  if (group.revoked) return GroupTpm::revoked;
  if (group.sealed.pin && group.dictionary_attack.locked_out) return GroupTpm::locked_out;
  if (!group.current_approved) return GroupTpm::not_approved;
  return group.policy_key_there ? GroupTpm::approved : GroupTpm::no_key;
}

// Size and time, to know the file again.
std::string mark_of(const Path& file) {
  struct stat status{};
  if (::stat(file.c_str(), &status) != 0) return "";
  return fmt::format("{}:{}.{:09}", status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

Path next_boot_note(const Path& state) {
  return state / "next-boot.json";
}

class Look {
 public:
  explicit Look(const Options& options) : options_(options), policy_(load_policy(options.policy)) {}

  SeenStatus look() {
    Records records;
    part("the boot", [&] { look_at_boot(records); });
    part("drills", [&] {
      seen_.status.drills = load_drills(options_.state);
      records.drills = seen_.status.drills;
    });
    const DeviceGraph graph = scan({.claim = false, .patience = device_patience});
    seen_.status.root = graph.root;
    part("header backups", [&] { look_at_backups(graph, records); });
    seen_.status.coverage = judge(graph, policy_, utc_now().substr(0, 10), records);
    look_at_groups(graph);
    part("what is locked down", [&] { look_at_locks(); });
    part("the TPM", [&] { ask_tpm(); });
    part("the watch", [&] { look_at_watch(); });
    part("the audit log", [&] { look_at_log(); });
    part("the next boot", [&] { look_at_next_boot(); });
    return std::move(seen_);
  }

 private:
  // One damaged file hides nothing but itself.
  void part(std::string_view what, const std::function<void()>& look_at_it) {
    try {
      look_at_it();
    } catch (const std::exception& error) {
      seen_.status.problems.push_back(fmt::format("{}: {}", what, error.what()));
    }
  }

  void look_at_boot(Records& records) {
    seen_.boot = read_boot_report();
    if (!seen_.boot) return;
    const BootReport& report = *seen_.boot;
    StatusBoot boot{.how = how_opened(report),
                    .took = report.ended - report.began,
                    .latch = report.latch,
                    .refusal = report.refusal};
    for (const Attempt& attempt : report.attempts) {
      if (attempt.outcome == Outcome::opened && !attempt.luks_uuid.empty())
        records.opened_by[attempt.luks_uuid] = attempt.protector;
      if (attempt.outcome != Outcome::opened)
        boot.problems.push_back(fmt::format("{}: {}", attempt.mapping, to_string(attempt.outcome)));
      if (key_stays(attempt)) boot.used_keys.push_back(attempt.device.native());
      for (const std::string& finding : attempt.findings)
        boot.problems.push_back(fmt::format("{}: {}", attempt.mapping, finding));
    }
    for (const std::string& mapping : report.missing)
      boot.problems.push_back(fmt::format("{}: its volume was not there", mapping));
    seen_.status.boot = std::move(boot);
  }

  void look_at_locks() {
    for (StatusGroup& group : seen_.status.groups) {
      if (const auto lock = load_lock(options_.state, group.name)) group.locked = lock->note.since;
    }
  }

  void look_at_backups(const DeviceGraph& graph, Records& records) const {
    for (const Device& device : graph.devices) {
      if (!device.luks || device.luks->uuid.empty()) continue;
      try {
        const Path place = backup_place(policy_.header_backups, device.luks->uuid);
        if (const auto text = read_file_if_any(record_place(place)))
          records.header_backups[device.luks->uuid] = parse_backup_record(*text).made_at;
      } catch (const Error& error) {
        log::detail("a header backup does not count: {}", error.what());
      }
    }
  }

  void look_at_groups(const DeviceGraph& graph) {
    Status& status = seen_.status;
    for (const Device& device : graph.devices) {
      if (device.luks && groups_of(*device.luks).size() > 1)
        status.in_two_groups.push_back(device.path);
    }
    for (const Group& group : policy_.groups) {
      const auto& volumes = status.coverage.volumes;
      const auto count = std::ranges::count_if(volumes, [&](const VolumeVerdict& volume) {
        return volume.policy_group == group.name && !volume.luks_uuid.empty();
      });
      const Path folder = options_.state / "groups" / group.name;
      std::error_code unreadable;
      if (count == 0 && !std::filesystem::exists(folder, unreadable)) continue;
      status.groups.push_back({.name = group.name,
                               .tenant = group.tenant,
                               .environment = group.environment,
                               .operators = group.operators,
                               .volumes = static_cast<std::size_t>(count)});
    }
  }

  // Discrete TPMs take a tenth of a second a command: whom there is no time for is not asked.
  void ask_tpm() {
    const auto due = std::chrono::steady_clock::now() + tpm_patience;
    std::optional<tpm::Connection> connection;
    for (StatusGroup& group : seen_.status.groups) {
      const tpm::GroupState state(options_.state, group.name);
      if (!state.sealed()) continue;
      group.tpm = GroupTpm::not_asked;
      if (std::chrono::steady_clock::now() > due) continue;
      try {
        if (!connection) connection.emplace(tpm::Connection::connect(options_.tcti));
        const tpm::GroupStatus said = tpm::group_status(*connection, state);
        group.tpm = said_by_tpm(said);
        group.counter = said.counter;
        group.approvals = said.states.size();
      } catch (const Error& error) {
        group.tpm = GroupTpm::unreachable;
        log::detail("group {}: {}", group.name, error.what());
      }
    }
  }

  void look_at_watch() {
    if (!seen_.status.root) return;
    const Book book;
    seen_.status.watched = FileLock::holder(book.lock()).has_value();
    for (const Held& held : book.held()) seen_.status.quarantined.push_back(held.path);
  }

  void look_at_log() {
    if (!seen_.status.root) return;
    const AuditPlace place = audit_log_of(options_);
    StatusLog log;
    if (std::filesystem::exists(place.log)) {
      const UniqueFd fd = open_file(place.log, O_RDONLY);
      const std::uint64_t size = size_of(fd.get(), place.log);
      log.there = true;
      log.lines = audit::tail_of(fd.get(), size, place.log).seq;
      read_end_of_log(fd.get(), size);
    }
    if (const auto checkpoint = audit::last_checkpoint(place.log)) {
      log.there = true;
      log.signed_lines = checkpoint->size;
      // A file that was just closed leaves an empty one.
      log.lines = std::max(log.lines, log.lines == 0 ? checkpoint->size : log.lines);
      log.signed_at = time_of(audit::checkpoints_of(place.log));
    }
    log.lost = std::filesystem::exists(place.rules.gap);
    seen_.status.log = log;
  }

  static std::string time_of(const Path& file) {
    struct stat status{};
    if (::stat(file.c_str(), &status) != 0) return "";
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(status.st_mtim.tv_sec),
                       status.st_mtim.tv_nsec / 1'000'000);
  }

  void read_end_of_log(int fd, std::uint64_t size) {
    const std::uint64_t from = size > end_of_log ? size - end_of_log : 0;
    std::string text(static_cast<std::size_t>(size - from), '\0');
    const ssize_t got = ::pread(fd, text.data(), text.size(), static_cast<off_t>(from));
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    const std::string a_day_ago = day_before(utc_now());
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      note_line(rest.substr(0, end), a_day_ago);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }

  static std::string day_before(const std::string& now) {
    const auto then = parse_time(now).value_or(0ms) - std::chrono::hours(24);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}",
                       fmt::gmtime(std::chrono::duration_cast<std::chrono::seconds>(then).count()));
  }

  void note_line(std::string_view line, const std::string& a_day_ago) {
    const bool unlock = line.contains(R"("action":"unlock","outcome":"opened")");
    if (!unlock && !line.contains(R"("action":"watch.finding")")) return;
    const auto record = audit::from_line(line);
    if (!record) return;
    const Event& event = record->event;
    if (unlock) {
      const auto of = [&](const char* key) {
        const auto found = event.detail.find(key);
        return found == event.detail.end() ? "" : found->second;
      };
      seen_.status.last_unlock = {.time = record->time,
                                  .volume = event.volume,
                                  .group = event.group,
                                  .protector = of("protector"),
                                  .milliseconds = of("milliseconds")};
    } else if (record->time >= a_day_ago &&
               (event.outcome == "not-covered" || event.outcome == "unknown" ||
                event.outcome == "converting" || event.outcome == "blind")) {
      ++seen_.status.findings;
    }
  }

  void look_at_next_boot() {
    const auto text = read_file_if_any(next_boot_note(options_.state));
    if (!text) return;
    const nlohmann::json parsed = StrictJson::parse(*text, 64U << 10U, "next-boot.json");
    StrictJson json(parsed, "next-boot.json");
    if (json.text("schema", 64) != next_boot_schema) return;
    StatusNextBoot next{.verified_at = json.text("verified_at", 64),
                        .good = json.at("good") == true,
                        .problem = json.text("problem", 1024)};
    const std::string file = json.text("initramfs", 4096);
    next.outdated = json.text("mark", 128) != mark_of(file);
    json.finish();
    seen_.status.next_boot = next;
  }

  const Options& options_;
  Policy policy_;
  SeenStatus seen_;
};

// Of what root has left for who is not root.
Status published_status(const Report& report) {
  Status status{.coverage = report.coverage, .root = false};
  for (const VolumeVerdict& volume : report.coverage.volumes) {
    auto group = std::ranges::find(status.groups, volume.policy_group, &StatusGroup::name);
    if (group == status.groups.end()) {
      status.groups.push_back({.name = volume.policy_group,
                               .tenant = volume.tenant,
                               .environment = volume.environment,
                               .tpm = GroupTpm::not_asked});
      group = std::prev(status.groups.end());
    }
    if (!volume.luks_uuid.empty()) ++group->volumes;
  }
  return status;
}

}  // namespace

SeenStatus look_at_status(const Options& options) {
  if (const auto report = published_report(options))
    return {.status = published_status(*report), .boot = {}};
  return Look(options).look();
}

void note_next_boot(const Path& state, const Path& initramfs, bool good,
                    const std::string& problem) {
  const nlohmann::ordered_json json = {{"schema", next_boot_schema},
                                       {"verified_at", utc_now()},
                                       {"initramfs", initramfs.native()},
                                       {"mark", mark_of(initramfs)},
                                       {"good", good},
                                       {"problem", problem.substr(0, 1000)}};
  make_folder(state);
  write_file(next_boot_note(state),
             json.dump(1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace volseal
