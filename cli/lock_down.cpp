#include "cli/lock_down.h"

#include "cli/device_users.h"
#include "cli/drills.h"
#include "cli/kernel_keys.h"
#include "cli/world.h"
#include "core/base/clock.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/discover/discover.h"
#include "core/luks/backup.h"
#include "core/luks/volume.h"
#include "core/unlock/find_lock.h"
#include "core/unlock/unlocker.h"
#include "tpm/lock_down.h"
#include "tpm/sealed_group.h"
#include "tpm/state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

namespace volseal {

namespace {

// The volume's token is of this machine's group, whatever is approved; or a lock is noted in it.
bool is_ours(const Path& path, const std::string& group, const std::string& sealed) {
  const Volume volume = Volume::load(path);
  if (const auto note = find_lock(volume)) return note->group == group;
  const auto same = [&](const std::string& other) { return tpm::same_group(sealed, other); };
  if (const auto whole = find_group_token(volume); whole && whole->token.group == group)
    return same(whole->token.sealed);
  return std::ranges::any_of(find_all_of_tokens(volume), [&](const AllOfToken& token) {
    return token.tpm && token.tpm->group == group && same(token.tpm->sealed);
  });
}

std::string problem_of(const LockedVolume& volume) {
  std::vector<std::string> ways;
  ways.reserve(volume.ways.size());
  for (const LockedWay& one : volume.ways) {
    ways.push_back(fmt::format("{} ({} factor{}, {})", escaped(one.way.kind), one.way.factors,
                               one.way.factors == 1 ? "" : "s",
                               one.drilled.empty() ? "never drilled" : "drilled"));
  }
  const std::string name = escaped(volume.path);
  switch (volume.recovery) {
    case Recovery::proven: return "";
    case Recovery::unproven:
      return fmt::format("no drill has shown that people with two factors open {}: {}", name,
                         fmt::join(ways, ", "));
    case Recovery::one_factor:
      return fmt::format("{} has no way in of two factors: {}", name, fmt::join(ways, ", "));
    case Recovery::none:
      return fmt::format("nothing but the TPM opens {}: it would be lost for ever", name);
  }
  return "";
}

// Who opens and changes groups has it for as long as that takes.
FileLock group_lock(const tpm::GroupState& state) {
  const Path place = state.folder() / "lock";
  constexpr int tries = 5;
  for (int i = 1; i < tries; ++i) {
    FileLock::wait_until_free(place);
    try {
      return FileLock(place);
    } catch (const Error& error) {
      if (error.code() != Code::busy) throw;
    }
  }
  return FileLock(place);
}

class LockingDown {
 public:
  LockingDown(const Options& options, const LockRequest& request, LockAssessment assessment)
      : options_(options),
        request_(request),
        assessed_(std::move(assessment)),
        state_(options.state, request.group),
        audit_(audit_log_of(options), "lock") {}

  LockedDown run() {
    begin();
    attempt("overwrite the policy key and the late copy", [&] {
      const FileLock lock = group_lock(state_);
      tpm::destroy_keys(state_);
    });
    done_.tpm_failed = !attempt("revoke the TPM's approvals", [&] {
      tpm::Connection connection = tpm::Connection::connect(options_.tcti);
      counted_ = tpm::void_approvals(connection, state_);
    });
    for (LockedDown::One& one : done_.volumes) take_header(one);
    if (done_.record.closes) close_idle();
    look_at_rest();
    std::set<std::string> closed;
    for (const LockedDown::One& one : done_.volumes) {
      if (one.volume.mapping.empty() || one.state == LockedDown::State::closed)
        closed.insert(one.volume.luks_uuid);
    }
    keys_ = drop_cached_keys(closed);
    end();
    return std::move(done_);
  }

 private:
  void begin() {
    const auto earlier = load_lock(options_.state, request_.group);
    if (earlier) {
      done_.record = *earlier;
      done_.record.closes = done_.record.closes || request_.closes;
      done_.record.complete = false;
    } else {
      done_.record = {.note = {.group = request_.group,
                               .since = utc_now(),
                               .by = who_is_at_work(),
                               .reason = request_.reason},
                      .trigger = request_.trigger,
                      .closes = request_.closes,
                      .sealed_sha256 = sha256_hex(state_.sealed().value_or(""))};
    }
    done_.foreign = assessed_.foreign;
    for (const LockedVolume& volume : assessed_.plan.volumes)
      done_.volumes.push_back({.volume = volume, .busy = {}, .problem = {}});
    // What is known of each header's change before it is made: the watch asks.
    std::vector<Event> events = {event("lock", audit_started)};
    for (const LockedDown::One& one : done_.volumes) events.push_back(event_of(one, audit_started));
    audit_.record_all(events);
    save_lock(options_.state, done_.record);
  }

  void end() {
    done_.record.complete = done_.problems.empty();
    save_lock(options_.state, done_.record);
    std::vector<Event> events;
    events.reserve(done_.volumes.size() + 1);
    for (const LockedDown::One& one : done_.volumes)
      events.push_back(event_of(one, to_string(one.state)));
    events.push_back(event("lock", done_.record.complete ? "ok" : "failed"));
    Event& last = events.back();
    last.detail["approvals_voided"] = std::to_string(counted_);
    last.detail["cached_keys_dropped"] = std::to_string(keys_);
    if (!done_.problems.empty())
      last.detail["error"] = fmt::format("{}", fmt::join(done_.problems, "; "));
    audit_.record_all(events);
  }

  Event event(std::string action, std::string_view outcome) const {
    return {.action = std::move(action),
            .outcome = std::string(outcome),
            .group = request_.group,
            .detail = {{"reason", done_.record.note.reason},
                       {"trigger", done_.record.trigger.empty() ? "person" : done_.record.trigger},
                       {"closes", done_.record.closes ? "yes" : "no"}}};
  }

  Event event_of(const LockedDown::One& one, std::string_view outcome) const {
    Event made = event("lock.volume", outcome);
    made.volume = one.volume.path;
    made.luks_uuid = one.volume.luks_uuid;
    made.detail["mapping"] = one.volume.mapping;
    if (!one.busy.empty()) made.detail["busy"] = fmt::format("{}", fmt::join(one.busy, "; "));
    if (!one.problem.empty()) made.detail["error"] = one.problem;
    return made;
  }

  // Nothing that fails keeps the rest open.
  template <typename Work>
  bool attempt(std::string_view doing, Work work) {
    try {
      work();
      return true;
    } catch (const Error& error) {
      done_.problems.push_back(fmt::format("{}: {}", doing, error.what()));
      return false;
    }
  }

  // The note first, then the keyslots: a header without them says why. With them gone, no copy of
  // the group's secret opens the volume, wherever somebody kept one.
  void take_header(LockedDown::One& one) {
    try {
      Volume volume = Volume::load(one.volume.path);
      volume.refuse_unsafe();
      if (!find_lock(volume)) volume.set_token(to_json(done_.record.note));
      for (const int slot : one.volume.tpm_keyslots) {
        if (volume.keyslots().size() > 1) volume.remove_keyslot(slot);
      }
      // Its header backup has them still.
      const Path backup =
          backup_place(load_policy(options_.policy).header_backups, one.volume.luks_uuid);
      if (std::filesystem::exists(backup)) {
        back_up_header(one.volume.path, backup, lasting_links(assessed_.graph[one.volume.device]));
      }
    } catch (const Error& error) {
      one.problem = error.what();
      done_.problems.push_back(fmt::format("{}: {}", escaped(one.volume.path), error.what()));
    }
  }

  // Until nothing more can be closed: what stood on a mapping may have kept the one below.
  void close_idle() {
    if (request_.unmount) put_away();
    for (bool again = true; again;) {
      again = false;
      for (LockedDown::One& one : done_.volumes) {
        if (one.volume.mapping.empty() || one.state == LockedDown::State::closed) continue;
        if (!is_mapping_of(one.volume.mapping, one.volume.luks_uuid)) continue;
        try {
          deactivate(one.volume.mapping);
          one.state = LockedDown::State::closed;
          again = true;
        } catch (const Error& error) {
          log::detail("{}", error.what());
        }
      }
    }
  }

  // By plain umount and swapoff: what programs use stays.
  void put_away() const {
    std::vector<std::string> mounts;
    for (const LockedDown::One& one : done_.volumes) {
      for (const DeviceIndex at : one.volume.above) {
        const Device& device = assessed_.graph[at];
        std::ranges::copy(device.mounts, std::back_inserter(mounts));
        if (device.swap_active) tell_failure({"swapoff", device.path});
      }
    }
    std::ranges::sort(mounts, std::greater{}, &std::string::size);
    for (const std::string& mount : mounts) tell_failure({"umount", mount});
  }

  static void tell_failure(const std::vector<std::string>& argv) {
    if (const ProcessResult result = volseal::run(argv); result.status != 0)
      log::warning("{} failed with status {}", escaped(fmt::format("{}", fmt::join(argv, " "))),
                   result.status);
  }

  // Who has what could not be closed, as it is by now.
  void look_at_rest() {
    const DeviceGraph now = scan();
    for (LockedDown::One& one : done_.volumes) {
      if (one.volume.mapping.empty() || one.state == LockedDown::State::closed) continue;
      const auto at = now.find(one.volume.path);
      if (!at || !now[*at].luks) continue;
      const LockedVolume volume = look_at_locked(now, *at, {});
      one.state = done_.record.closes ? LockedDown::State::busy : LockedDown::State::left_open;
      one.busy = volume.busy;
      for (const DeviceIndex above : volume.above) {
        const auto users = users_of_device(now[above].major, now[above].minor);
        std::ranges::copy(users, std::back_inserter(one.busy));
      }
    }
  }

  const Options& options_;
  const LockRequest& request_;
  LockAssessment assessed_;
  tpm::GroupState state_;
  AuditLog audit_;
  LockedDown done_;
  int counted_ = 0;
  int keys_ = 0;
};

}  // namespace

bool LockedDown::all_closed() const {
  return std::ranges::all_of(volumes, [](const One& one) {
    return one.state == State::closed || one.state == State::was_closed;
  });
}

std::string_view to_string(LockedDown::State state) {
  switch (state) {
    case LockedDown::State::closed: return "closed";
    case LockedDown::State::was_closed: return "was-closed";
    case LockedDown::State::busy: return "busy";
    case LockedDown::State::left_open: return "left-open";
  }
  return "busy";
}

LockAssessment assess_lock(const Options& options, const LockRequest& request) {
  const auto sealed = tpm::GroupState(options.state, request.group).sealed();
  if (!sealed) {
    throw Error(Code::not_found, "lock group {}: there is none in {}", escaped(request.group),
                (options.state / "groups").native());
  }
  LockAssessment assessed;
  assessed.graph = scan();
  for (const Path& image : request.more) {
    // Block devices were found, or are gone.
    if (!assessed.graph.find(image.native()) && std::filesystem::is_regular_file(image))
      assessed.graph.devices.push_back(scan_image(image));
  }
  assessed.plan = plan_lock(assessed.graph, request.group, load_drills(options.state));
  std::erase_if(assessed.plan.volumes, [&](const LockedVolume& volume) {
    if (is_ours(volume.path, request.group, *sealed)) return false;
    assessed.foreign.push_back(volume.path);
    return true;
  });
  for (const LockedVolume& volume : assessed.plan.volumes) {
    if (std::string problem = problem_of(volume); !problem.empty())
      assessed.problems.push_back(std::move(problem));
  }
  if (assessed.plan.volumes.empty()) {
    assessed.problems.emplace_back(
        "none of its volumes is attached, so nobody can say who would get in again");
  }
  assessed.impossible = assessed.plan.recovery() == Recovery::none;
  return assessed;
}

LockedDown lock_down(const Options& options, const LockRequest& request) {
  LockAssessment assessed = assess_lock(options, request);
  // What was begun is finished: then it is too late to ask.
  const bool begun = load_lock(options.state, request.group).has_value();
  if (!begun && !assessed.problems.empty() && (!request.unproven || assessed.impossible)) {
    const std::string why = fmt::format("{}", fmt::join(assessed.problems, "; "));
    AuditLog(audit_log_of(options), "lock")
        .record({.action = "lock",
                 .outcome = "refused",
                 .group = request.group,
                 .detail = {{"reason", request.reason},
                            {"trigger", request.trigger.empty() ? "person" : request.trigger},
                            {"error", why}}});
    throw Error(Code::unsafe, "lock group {}: {}", request.group, why);
  }
  return LockingDown(options, request, std::move(assessed)).run();
}

}  // namespace volseal
