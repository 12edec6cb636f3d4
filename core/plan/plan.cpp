#include "core/plan/plan.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/coverage/coverage.h"
#include "core/plan/cost.h"
#include "core/plan/crypttab_options.h"
#include "core/plan/mapping.h"
#include "core/plan/obstacles.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace volseal {
namespace {

// What coverage says is safe to print already.
std::string joined(const std::vector<std::string>& reasons) {
  return fmt::format("{}", fmt::join(reasons, "; "));
}

// A header that we have made carries its ways to open before any data moves.
bool made_by_us(const LuksHeader& header) {
  return has_token(header, "volseal-tpm2") || has_token(header, "systemd-recovery");
}

// What the group asks for and the header lacks; "" for nothing.
std::string missing_protectors(const LuksHeader& header, const Group& group) {
  std::vector<std::string> kinds;
  if (group.tpm.enabled && !has_token(header, "volseal-tpm2")) kinds.emplace_back("TPM");
  if (std::ranges::find(group.recovery, "recovery-key") != group.recovery.end() &&
      !has_token(header, "systemd-recovery")) {
    kinds.emplace_back("recovery key");
  }
  return fmt::format("{}", fmt::join(kinds, " and "));
}

class Planner {
 public:
  Planner(const DeviceGraph& graph, const Policy& policy, const PlanOptions& options)
      : graph_(graph), policy_(policy), options_(options), names_(graph) {
    for (VolumeVerdict& verdict : judge(graph, policy, options.today).volumes) {
      if (verdict.subject != Subject::device) continue;
      verdicts_.emplace(verdict.device, std::move(verdict));
    }
  }

  VolumePlan plan(DeviceIndex at) {
    const Device& device = graph_[at];
    const Rule* rule = deciding_rule(policy_, graph_, at);
    VolumePlan plan = describe(device, rule);
    if (rule != nullptr && rule->action == Action::forbid) {
      plan.task = Task::forbid;
      plan.why = fmt::format("forbidden: {}", escaped(rule->reason));
    } else if (rule != nullptr && rule->action == Action::leave &&
               !expired(*rule, options_.today)) {
      plan.task = Task::leave;
      plan.why = fmt::format("exempt{}: {}",
                             rule->until.empty() ? "" : fmt::format(" until {}", rule->until),
                             escaped(rule->reason));
    } else {
      decide(plan, at, rule);
      if (rule != nullptr && rule->action == Action::leave) {
        plan.why += fmt::format("; its exemption ended on {}", rule->until);
      }
    }
    add_cost(plan, device, policy_, options_);
    return plan;
  }

 private:
  VolumePlan describe(const Device& device, const Rule* rule) const {
    VolumePlan plan;
    plan.path = device.path;
    plan.name = device.name;
    plan.group = rule == nullptr ? "default" : rule->group;
    const Group& group = policy_.group(plan.group);
    plan.owner = owner_words(group.tenant, group.environment);
    plan.rule = rule == nullptr ? "" : rule->name;
    plan.size = device.size;
    plan.content = device.content.kind;
    plan.content_type = device.content.type;
    plan.content_uuid = device.content.uuid;
    plan.content_label = device.content.label;
    plan.content_size = device.content.size;
    plan.luks_uuid = device.luks ? device.luks->uuid : "";
    plan.diskseq = device.diskseq;
    plan.mounts = device.mounts;
    plan.swap_active = device.swap_active;
    return plan;
  }

  void decide(VolumePlan& plan, DeviceIndex at, const Rule* rule) {
    const Device& device = graph_[at];
    const auto found = verdicts_.find(at);
    if (found == verdicts_.end()) {
      refuse(plan, {{.what = "it was not judged", .advice = "run 'volseal check'"}});
      return;
    }
    const VolumeVerdict& verdict = found->second;
    if (device.content.kind == ContentKind::luks2 || device.luks) {
      decide_luks(plan, at, verdict, rule);
      return;
    }
    switch (verdict.verdict) {
      case Verdict::covered:
        plan.why = verdict.reasons.empty() ? "what it rests on is encrypted already"
                                           : joined(verdict.reasons);
        return;
      case Verdict::covered_weak:
      case Verdict::suspended: plan.why = joined(verdict.reasons); return;
      case Verdict::exempt:
        plan.task = Task::leave;
        plan.why = joined(verdict.reasons);
        return;
      case Verdict::converting:
      case Verdict::unknown:
      case Verdict::not_covered: decide_plain(plan, at, rule); return;
    }
  }

  void decide_luks(VolumePlan& plan, DeviceIndex at, const VolumeVerdict& verdict,
                   const Rule* rule) {
    const Device& device = graph_[at];
    plan.mounts = verdict.mounts;
    // One readable copy of the header is enough to go on; coverage reports the other.
    if (!device.luks || device.luks->segments.empty()) {
      refuse(plan, {{.what = device.luks ? fmt::format("its LUKS header cannot be read: {}",
                                                       escaped(device.luks->damage))
                                         : "its LUKS header was not read",
                     .advice = fmt::format("restore the header from its backup: "
                                           "'volseal header restore {}'",
                                           escaped(plan.path))}});
      return;
    }
    const LuksHeader& header = *device.luks;
    if (header.reencryption == "encrypt" && made_by_us(header)) {
      plan.task = Task::resume;
      plan.why = "its encryption was cut off and goes on";
      fill_volume(plan, at, rule);
      fill_from_header(plan, header);
      return;
    }
    if (!header.reencryption.empty() && header.reencryption != "reencrypt") {
      refuse(plan, {{.what = fmt::format("another program has begun to {} it",
                                         escaped(header.reencryption, 40)),
                     .advice = fmt::format("finish that: 'cryptsetup reencrypt --resume-only {}'",
                                           escaped(plan.path))}});
      return;
    }
    if (verdict.verdict == Verdict::not_covered || verdict.verdict == Verdict::unknown) {
      refuse(plan,
             {{.what = verdict.reasons.empty() ? "its header does not prove that it is encrypted"
                                               : joined(verdict.reasons),
               .advice = "copy the data to a volume that is enrolled, then wipe this one"}});
      return;
    }
    const std::string missing = missing_protectors(header, policy_.group(plan.group));
    if (header.version == 1 || !missing.empty()) {
      decide_adoption(plan, at, rule, header, missing);
      return;
    }
    plan.why = why_nothing(header, verdict, plan);
  }

  void decide_adoption(VolumePlan& plan, DeviceIndex at, const Rule* rule, const LuksHeader& header,
                       const std::string& missing) {
    std::vector<Obstacle> obstacles = adoption_obstacles(graph_, at);
    if (!obstacles.empty()) {
      refuse(plan, std::move(obstacles));
      return;
    }
    plan.task = header.version == 1 ? Task::convert : Task::adopt;
    plan.why = header.version == 1
                   ? "encrypted as LUKS1, to which the policy's protectors cannot be added"
                   : fmt::format("encrypted{}, without the policy's {}",
                                 made_by_us(header) ? "" : " by another program", missing);
    fill_volume(plan, at, rule);
    fill_from_header(plan, header);
  }

  static std::string why_nothing(const LuksHeader& header, const VolumeVerdict& verdict,
                                 const VolumePlan& plan) {
    const auto token = std::ranges::find(header.tokens, "volseal-tpm2", &Token::type);
    if (token != header.tokens.end() && token->group != plan.group) {
      return fmt::format("encrypted, in group '{}' where the policy says '{}'",
                         escaped(token->group), plan.group);
    }
    if (verdict.verdict == Verdict::covered_weak) return joined(verdict.reasons);
    return "encrypted, with the protectors that the policy asks for";
  }

  void decide_plain(VolumePlan& plan, DeviceIndex at, const Rule* rule) {
    const Device& device = graph_[at];
    const std::optional<Task> task = task_for(device.content);
    if (!task) {
      // Nothing else matters then: unmounting it, say, would not help.
      refuse(plan, {content_obstacle(device)});
      return;
    }
    std::vector<Obstacle> obstacles = device_obstacles(graph_, at, *task, options_);
    if (task == Task::format) {
      plan.filesystem = policy_.blank_filesystem;
      if (rule != nullptr && rule->filesystem) plan.filesystem = *rule->filesystem;
      if (rule != nullptr && rule->mount) plan.mount = *rule->mount;
      std::ranges::move(mount_obstacles(graph_, at, plan.mount), std::back_inserter(obstacles));
      if (!plan.mount.empty() && !mounts_given_.insert(plan.mount).second) {
        obstacles.push_back({.what = fmt::format("rule '{}' wants two volumes at {}", plan.rule,
                                                 escaped(plan.mount)),
                             .advice = "let the rule match one volume only"});
      }
    }
    if (task == Task::encrypt_in_place) {
      if (const auto room = room_for(device)) {
        plan.room = *room;
      } else {
        obstacles.push_back(no_room_obstacle(device));
      }
      plan.used_only = spares_free_space(device, policy_);
      plan.online = !options_.offline && !plan.mounts.empty() && device.kind != DeviceKind::file;
    }
    if (!obstacles.empty()) {
      refuse(plan, std::move(obstacles));
      return;
    }
    plan.task = *task;
    plan.why =
        *task == Task::encrypt_swap ? "memory is written to it in the clear" : "not encrypted";
    fill_volume(plan, at, rule);
  }

  static std::optional<Task> task_for(const Content& content) {
    if (content.kind == ContentKind::blank) return Task::format;
    if (content.kind == ContentKind::swap) return Task::encrypt_swap;
    // What is not known by its size might not end where its device does.
    const bool known = is_ext(content) || content.size != 0;
    if (content.kind == ContentKind::filesystem && known) return Task::encrypt_in_place;
    return std::nullopt;
  }

  void fill_volume(VolumePlan& plan, DeviceIndex at, const Rule* rule) {
    const Device& device = graph_[at];
    plan.mapping = names_.choose(graph_, at, rule);
    plan.cipher = policy_.cipher;
    plan.key_bits = policy_.key_bits;
    std::optional<std::uint32_t> sectors = policy_.sector_size;
    if (rule != nullptr) {
      plan.cipher = rule->cipher.value_or(plan.cipher);
      plan.key_bits = rule->key_bits.value_or(plan.key_bits);
      if (rule->sector_size) sectors = *rule->sector_size == 0 ? std::nullopt : rule->sector_size;
    }
    plan.sector_size = sector_size_for(device, plan.task, sectors);
    plan.crypttab_options = crypttab_options(graph_, at, policy_, rule);
    plan.recovery = policy_.group(plan.group).recovery;
  }

  // What was decided when the encryption began.
  static void fill_from_header(VolumePlan& plan, const LuksHeader& header) {
    for (const LuksSegment& segment : header.segments) {
      if (segment.type != "crypt") continue;
      plan.cipher = segment.cipher;
      plan.sector_size = segment.sector_size;
    }
    if (header.key_bytes != 0) plan.key_bits = static_cast<int>(header.key_bytes) * 8;
  }

  static void refuse(VolumePlan& plan, std::vector<Obstacle> obstacles) {
    plan.task = Task::refuse;
    plan.why = "must be encrypted, and cannot be as it is";
    plan.obstacles = std::move(obstacles);
  }

  const DeviceGraph& graph_;
  const Policy& policy_;
  const PlanOptions& options_;
  MappingNames names_;
  std::map<DeviceIndex, VolumeVerdict> verdicts_;
  std::set<std::string> mounts_given_;
};

// The volumes among `all` that `only` names; all where it names none.
std::vector<DeviceIndex> chosen(const DeviceGraph& graph, const std::vector<DeviceIndex>& all,
                                const std::vector<std::string>& only) {
  if (only.empty()) return all;
  std::set<DeviceIndex> wanted;
  for (const std::string& name : only) {
    const std::optional<DeviceIndex> at = graph.find(name);
    if (!at) throw Error(Code::not_found, "plan {}: there is no such device", escaped(name));
    std::vector<std::string> near;
    for (const DeviceIndex volume : all) {
      const std::vector<DeviceIndex> below = graph.closure_below(volume);
      const std::vector<DeviceIndex> own = graph.closure_below(*at);
      const bool related = std::ranges::find(below, *at) != below.end() ||
                           std::ranges::find(own, volume) != own.end();
      if (related) near.push_back(escaped(graph[volume].path));
    }
    if (std::ranges::find(all, *at) == all.end()) {
      throw Error(Code::usage, "plan {}: it is no volume itself; {}", escaped(name),
                  near.empty() ? "nothing that holds data belongs to it"
                               : fmt::format("name {}", fmt::join(near, ", ")));
    }
    wanted.insert(*at);
  }
  std::vector<DeviceIndex> result;
  std::ranges::copy_if(all, std::back_inserter(result),
                       [&](DeviceIndex at) { return wanted.contains(at); });
  return result;
}

}  // namespace

std::string_view to_string(Room room) {
  switch (room) {
    case Room::shrink: return "shrink";
    case Room::tail: return "tail";
    case Room::extend: return "extend";
  }
  return "shrink";
}

bool is_work(Task task) {
  switch (task) {
    case Task::encrypt_in_place:
    case Task::resume:
    case Task::format:
    case Task::encrypt_swap:
    case Task::adopt:
    case Task::convert: return true;
    case Task::nothing:
    case Task::leave:
    case Task::forbid:
    case Task::refuse: return false;
  }
  return false;
}

std::string_view to_string(Task task) {
  switch (task) {
    case Task::nothing: return "nothing";
    case Task::encrypt_in_place: return "encrypt in place";
    case Task::resume: return "resume";
    case Task::format: return "format";
    case Task::encrypt_swap: return "encrypt swap";
    case Task::adopt: return "adopt";
    case Task::convert: return "convert";
    case Task::leave: return "leave";
    case Task::forbid: return "forbid";
    case Task::refuse: return "refuse";
  }
  return "unknown";
}

bool Plan::has_work() const {
  return std::ranges::any_of(volumes,
                             [](const VolumePlan& volume) { return is_work(volume.task); });
}

bool Plan::has_obstacles() const {
  return std::ranges::any_of(volumes,
                             [](const VolumePlan& volume) { return volume.task == Task::refuse; });
}

Plan make_plan(const DeviceGraph& graph, const Policy& policy, const PlanOptions& options) {
  Plan plan;
  plan.host = graph.host;
  plan.made_at = graph.taken_at;
  plan.policy = policy.source;
  plan.policy_digest = policy.digest;
  // Every volume is planned, so that names and mount points do not depend on which ones are asked
  // for.
  Planner planner(graph, policy, options);
  const std::vector<DeviceIndex> all = volumes_of(graph);
  const std::vector<DeviceIndex> wanted = chosen(graph, all, options.only);
  for (const DeviceIndex at : all) {
    VolumePlan volume = planner.plan(at);
    if (std::ranges::find(wanted, at) != wanted.end()) plan.volumes.push_back(std::move(volume));
  }
  return plan;
}

}  // namespace volseal
