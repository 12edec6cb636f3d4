#include "core/watch/warden.h"

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/watch/sysfs_acts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace volseal {

namespace {

// A full /run must not end the watch: what could not be written is told, and tried again.
template <typename F>
void try_to(F act) {
  try {
    act();
  } catch (const Error& error) {
    log::warning("{}", error.what());
  }
}

bool takes(Response response) {
  return response == Response::quarantine || response == Response::deauthorize;
}

std::vector<DeviceIndex> partitions_of(const DeviceGraph& graph, DeviceIndex at) {
  std::vector<DeviceIndex> partitions;
  for (const DeviceIndex above : graph.above(at)) {
    if (graph[above].kind == DeviceKind::partition) partitions.push_back(above);
  }
  return partitions;
}

std::optional<DeviceIndex> find_id(const DeviceGraph& graph, const DeviceId& id) {
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    if (graph[at].name == id.name && id_of(graph, at) == id) return at;
  }
  return std::nullopt;
}

Claims::Function claim_after(const std::function<void()>& before) {
  if (!before) return claim;
  return [before](const ClaimJob& job) {
    before();
    return claim(job);
  };
}

std::string node_name(std::string name) {
  std::ranges::replace(name, '!', '/');
  return name;
}

}  // namespace

DeviceId id_of(const DeviceGraph& graph, DeviceIndex at) {
  const Device& device = graph[at];
  const bool of_disk =
      device.diskseq == 0 && device.kind == DeviceKind::partition && !device.below.empty();
  return {.name = device.name,
          .diskseq = of_disk ? graph[device.below.front()].diskseq : device.diskseq};
}

Warden::Warden(WardenOptions options)
    : options_(std::move(options)),
      book_(options_.run),
      claims_(claim_after(options_.before_opening)) {
  if (options_.preview) return;
  book_.prepare();
  released_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!released_ || ::inotify_add_watch(released_.get(), book_.released_folder().c_str(),
                                        IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
    throw_errno(errno, "watch {}", book_.released_folder().native());
  }
  // An earlier watch's: it cannot be claimed by that one any more, and is read-only still.
  for (Held& held : book_.held()) {
    const DeviceId id = held.id;
    held_.emplace(id, Entry{.record = std::move(held), .claim = {}});
  }
  cleared_ = book_.cleared();
}

void Warden::woken() const {
  std::array<char, 4096> events{};
  while (::read(released_.get(), events.data(), events.size()) > 0) {
  }
}

std::vector<Ruling> Warden::decide_all(const Sighting& seen, const Policy& policy,
                                       std::string_view today) const {
  const std::set<DeviceId> released = book_.released();
  std::vector<Ruling> decisions;
  for (const VolumeVerdict& volume : seen.coverage.volumes) {
    Ruling decision = decide(policy, seen.graph, volume, today);
    decision = after_enrolling(seen, volume.device, policy, std::move(decision));
    std::vector<DeviceIndex> places = seen.graph.disks_below(volume.device);
    places.push_back(volume.device);
    for (const DeviceIndex at : places) {
      const DeviceId id = id_of(seen.graph, at);
      if (!takes(decision.response) || !released.contains(id)) continue;
      if (const auto release = book_.released(id)) {
        decision = {.response = Response::allow,
                    .reason = fmt::format("released by {}: {}", release->who, release->reason)};
      }
    }
    if (!options_.escape.empty() && decision.response != Response::allow) {
      decision.reason =
          fmt::format("{} is not done: {}", to_string(decision.response), options_.escape);
      decision.response = Response::notify;
    }
    decisions.push_back(std::move(decision));
  }
  return decisions;
}

// A disk whose enrollment failed is as any other that nobody allows.
Ruling Warden::after_enrolling(const Sighting& seen, DeviceIndex at, const Policy& policy,
                               Ruling ruling) const {
  if (ruling.response != Response::enroll || !started_.contains(id_of(seen.graph, at)))
    return ruling;
  if (options_.is_busy && options_.is_busy(node_of(seen.graph, at))) return ruling;
  return {.response = policy.watch.otherwise,
          .rule = ruling.rule,
          .reason = "it was to be enrolled, and is not"};
}

std::string Warden::node_of(const DeviceGraph& graph, DeviceIndex at) const {
  return (options_.dev / node_name(graph[at].name)).native();
}

void Warden::act(const Sighting& seen, const Policy& policy, std::string_view today,
                 std::vector<Finding>& findings) {
  const std::vector<Ruling> decisions = decide_all(seen, policy, today);
  if (!options_.preview) {
    const std::vector<Custody> wanted = custodies(seen, decisions);
    std::set<DeviceId> ids;
    for (const Custody& custody : wanted) ids.insert(id_of(seen.graph, custody.device));
    if (options_.before_opening) options_.before_opening();
    // Before anything is given back, and before a new disk suffers for one that had its number.
    deny(seen, ids, findings);
    let_go(seen, ids);
    clear_disks(seen, decisions);
    take(seen, wanted);
    deny(seen, ids, findings);
    keep_closed(seen, findings);
  }
  std::vector<Outcome> outcomes;
  outcomes.reserve(decisions.size());
  for (std::size_t i = 0; i < decisions.size(); ++i)
    outcomes.push_back(outcome_of(seen, seen.coverage.volumes[i], decisions[i]));
  tell(seen, outcomes, findings);
}

ClaimJob Warden::job_of(const DeviceGraph& graph, DeviceIndex at) const {
  ClaimJob job{.id = id_of(graph, at), .node = options_.dev / node_name(graph[at].name)};
  for (const DeviceIndex part : partitions_of(graph, at))
    job.parts.push_back(options_.dev / node_name(graph[part].name));
  return job;
}

void Warden::say(std::string_view action, const DeviceGraph& graph, DeviceIndex at) const {
  announce(options_.sys, graph[at].name, action);
  for (const DeviceIndex part : partitions_of(graph, at))
    announce(options_.sys, graph[part].name, action);
}

// udevd's rule holds each disk that comes; those that nothing is to be kept from may go.
void Warden::clear_disks(const Sighting& seen, const std::vector<Ruling>& decisions) {
  std::set<DeviceIndex> free;
  std::set<DeviceIndex> denied;
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    for (const DeviceIndex disk : seen.graph.disks_below(seen.coverage.volumes[i].device))
      (takes(decisions[i].response) ? denied : free).insert(disk);
  }
  std::set<DeviceId> there;
  for (DeviceIndex at = 0; at < seen.graph.devices.size(); ++at) {
    const Device& disk = seen.graph[at];
    if (!disk.below.empty()) continue;
    const DeviceId id = id_of(seen.graph, at);
    there.insert(id);
    const bool stays = denied.contains(at) && !free.contains(at);
    if (stays || settled_.contains(id)) continue;
    const FirstMoment moment = first_moment_of(options_.udev_data, disk.major, disk.minor);
    if (moment == FirstMoment::undecided) continue;
    settled_.insert(id);
    if (moment == FirstMoment::free || cleared_.contains(id)) continue;
    try_to([&] { book_.clear(id); });
    cleared_.insert(id);
    if (const std::string problem = make_writable(job_of(seen.graph, at)); !problem.empty())
      log::warning("{} stays read-only: {}", escaped(disk.path), problem);
    say("add", seen.graph, at);
  }
  std::erase_if(settled_, [&](const DeviceId& id) { return !there.contains(id); });
  std::erase_if(cleared_, [&](const DeviceId& id) {
    if (there.contains(id)) return false;
    try_to([&] { book_.forget_cleared(id); });
    return true;
  });
}

void Warden::let_go(const Sighting& seen, const std::set<DeviceId>& wanted) {
  std::erase_if(problems_, [&](const auto& one) { return !wanted.contains(one.first); });
  for (auto one = held_.begin(); one != held_.end();) {
    if (wanted.contains(one->first)) {
      ++one;
      continue;
    }
    give_back(seen, one->first);
    one = held_.erase(one);
  }
}

void Warden::give_back(const Sighting& seen, const DeviceId& id) {
  try_to([&] { book_.forget(id); });
  const auto at = find_id(seen.graph, id);
  if (!at) return;
  // Else udevd's rule would hold it again at the next event.
  try_to([&] { book_.clear(id); });
  cleared_.insert(id);
  settled_.insert(id);
  if (const std::string problem = make_writable(job_of(seen.graph, *at)); !problem.empty())
    log::warning("{} stays read-only: {}", escaped(seen.graph[*at].path), problem);
  held_.at(id).claim.reset();
  say("add", seen.graph, *at);
}

void Warden::take(const Sighting& seen, const std::vector<Custody>& wanted) {
  std::vector<ClaimJob> jobs;
  std::map<DeviceId, const Custody*> custodies;
  for (const Custody& custody : wanted) {
    const DeviceId id = id_of(seen.graph, custody.device);
    const auto held = held_.find(id);
    if (held != held_.end() && held->second.claim) continue;
    if (custody.in_use) {
      problems_[id] = "it is in use";
      continue;
    }
    jobs.push_back(job_of(seen.graph, custody.device));
    custodies.emplace(id, &custody);
  }
  for (auto& [id, claimed] : claims_.take(jobs, options_.patience)) {
    if (!claimed.problem.empty()) {
      problems_[id] = claimed.problem;
      continue;
    }
    problems_.erase(id);
    const Custody& custody = *custodies.at(id);
    const Device& device = seen.graph[custody.device];
    Entry entry{.record = {.id = id,
                           .path = device.path,
                           .rule = custody.decision.rule,
                           .reason = custody.decision.reason,
                           .from = to_text(origins_of(seen, custody.device)),
                           .since = utc_now()},
                .claim = std::move(claimed.fd)};
    if (const auto earlier = held_.find(id); earlier != held_.end())
      entry.record.since = earlier->second.record.since;
    try_to([&] { book_.hold(entry.record); });
    held_.insert_or_assign(id, std::move(entry));
    // Where udevd's rule has not been there before the watch, it is told now.
    if (first_moment_of(options_.udev_data, device.major, device.minor) != FirstMoment::held)
      say("change", seen.graph, custody.device);
    if (custody.decision.response == Response::deauthorize) {
      // Known from here on: the disk, and its place in sysfs, are gone at once.
      if (const Path usb = usb_device_of(options_.sys, device.name); !usb.empty()) {
        try_to([&] {
          deauthorize(usb);
          held_.at(id).deauthorized = true;
        });
      }
    }
  }
}

// What is held and is to stay so, nobody opens.
void Warden::deny(const Sighting& seen, const std::set<DeviceId>& ids,
                  std::vector<Finding>& findings) {
  if (!options_.deny) return;
  std::map<DeviceNumber, DeviceIndex> there;
  std::map<DeviceNumber, DeviceIndex> disks;  // by what is to be denied of them
  std::set<DeviceNumber> numbers;
  for (DeviceIndex at = 0; at < seen.graph.devices.size(); ++at) {
    const Device& device = seen.graph[at];
    there.emplace(DeviceNumber{.major = device.major, .minor = device.minor}, at);
    const DeviceId id = id_of(seen.graph, at);
    if (!held_.contains(id) || !ids.contains(id)) continue;
    std::vector<DeviceIndex> places = partitions_of(seen.graph, at);
    places.push_back(at);
    for (const DeviceIndex place : places) {
      const Device& part = seen.graph[place];
      numbers.insert({.major = part.major, .minor = part.minor});
      disks.emplace(DeviceNumber{.major = part.major, .minor = part.minor}, at);
    }
  }
  const Deny::Change change = options_.deny(numbers);
  for (const DeviceNumber& number : change.freed) {
    const auto at = there.find(number);
    if (at == there.end() || held_.contains(id_of(seen.graph, at->second))) continue;
    // Another disk by now, whose partitions the kernel was not allowed to look for.
    if (!seen.graph[at->second].below.empty()) continue;
    read_partitions_again(job_of(seen.graph, at->second));
  }
  std::set<DeviceIndex> broken;
  for (const DeviceNumber& number : change.broken) broken.insert(disks.at(number));
  for (const DeviceIndex at : broken) {
    ++broken_;
    tell_broken(seen, at, "the kernel no longer denied it; it does again", findings);
  }
}

void Warden::keep_closed(const Sighting& seen, std::vector<Finding>& findings) {
  for (const auto& [id, entry] : held_) {
    if (!entry.claim || !is_writable(entry.claim.get())) continue;
    const int read_only = 1;
    const bool closed = ::ioctl(entry.claim.get(), BLKROSET, &read_only) == 0;
    ++broken_;
    const auto at = find_id(seen.graph, id);
    if (!at) continue;
    tell_broken(seen, *at,
                fmt::format("it was made writable{}", closed ? "; it is read-only again" : ""),
                findings);
  }
}

void Warden::tell_broken(const Sighting& seen, DeviceIndex at, const std::string& how,
                         std::vector<Finding>& findings) {
  for (const VolumeVerdict& volume : seen.coverage.volumes) {
    const std::vector<DeviceIndex> below = seen.graph.closure_below(volume.device);
    if (std::ranges::find(below, at) == below.end()) continue;
    Finding finding = finding_of(Happening::changed, seen, volume);
    finding.noticed_by = "check";
    finding.changes = {fmt::format("its quarantine was broken by hand: {}", how)};
    findings.push_back(std::move(finding));
  }
}

Warden::Outcome Warden::of_custody(const Sighting& seen, DeviceIndex at,
                                   const Ruling& decision) const {
  Outcome outcome{.action = "quarantine", .why = decision.reason, .rule = decision.rule};
  std::vector<DeviceIndex> places = seen.graph.disks_below(at);
  places.insert(places.begin(), at);
  std::string problem = "it could not be claimed";
  for (const DeviceIndex place : places) {
    const DeviceId id = id_of(seen.graph, place);
    const auto held = held_.find(id);
    if (held != held_.end() && held->second.claim) {
      if (held->second.deauthorized) outcome.action = "deauthorize";
      return outcome;
    }
    if (const auto found = problems_.find(id); found != problems_.end()) problem = found->second;
  }
  outcome.action = "notify";
  outcome.why = fmt::format("{} is not possible: {}", to_string(decision.response), problem);
  return outcome;
}

Warden::Outcome Warden::outcome_of(const Sighting& seen, const VolumeVerdict& volume,
                                   const Ruling& decision) {
  if (options_.preview && decision.response != Response::allow &&
      decision.response != Response::notify) {
    const bool in_the_way = takes(decision.response) && is_used(seen.graph, volume.device);
    return {.action = fmt::format("would {}", to_string(decision.response)),
            .why = in_the_way ? "but it is in use" : decision.reason,
            .rule = decision.rule};
  }
  switch (decision.response) {
    case Response::allow:
    case Response::notify: break;
    case Response::quarantine:
    case Response::deauthorize: return of_custody(seen, volume.device, decision);
    case Response::enroll:
    case Response::unlock: {
      const bool waits = !is_used(seen.graph, volume.device);
      if (waits && started_.insert(id_of(seen.graph, volume.device)).second && options_.start)
        options_.start(decision.response, node_of(seen.graph, volume.device));
      break;
    }
  }
  return {.action = std::string(to_string(decision.response)),
          .why = decision.reason,
          .rule = decision.rule};
}

void Warden::tell(const Sighting& seen, const std::vector<Outcome>& outcomes,
                  std::vector<Finding>& findings) {
  std::map<DeviceId, Outcome> now;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const VolumeVerdict& volume = seen.coverage.volumes[i];
    const DeviceId id = id_of(seen.graph, volume.device);
    const Outcome& outcome = outcomes[i];
    now.emplace(id, outcome);
    bool told = false;
    for (Finding& finding : findings) {
      const bool about =
          finding.volume.name == volume.name && finding.diskseq == id.diskseq &&
          (finding.what == Happening::present || finding.what == Happening::attached ||
           finding.what == Happening::changed);
      if (!about) continue;
      finding.action = outcome.action;
      finding.why = outcome.why;
      finding.watch_rule = outcome.rule;
      told = true;
    }
    const auto before = last_.find(id);
    if (told || before == last_.end() || before->second.action == outcome.action) continue;
    Finding finding = finding_of(Happening::changed, seen, volume);
    finding.noticed_by = "policy";
    finding.changes = {fmt::format("{} before, {} now", before->second.action, outcome.action)};
    finding.action = outcome.action;
    finding.why = outcome.why;
    finding.watch_rule = outcome.rule;
    findings.push_back(std::move(finding));
  }
  std::erase_if(started_, [&](const DeviceId& id) { return !now.contains(id); });
  last_ = std::move(now);
}

}  // namespace volseal
