#include "core/coverage/coverage.h"

#include "core/base/escape.h"
#include "core/coverage/accounts.h"
#include "core/coverage/consumers.h"
#include "core/coverage/drill_ages.h"
#include "core/coverage/layers.h"
#include "core/coverage/ways.h"
#include "core/coverage/ways_in.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

namespace volseal {

namespace {

// fstab(5) and crypttab(5): the ways to name a device.
bool answers_to(const Device& device, const std::string& source) {
  const auto is = [&](const char* tag, const std::string& value) {
    return !value.empty() && source == tag + value;
  };
  return source == device.path || source == "/dev/" + device.name || has(device.links, source) ||
         is("UUID=", device.content.uuid) || is("LABEL=", device.content.label) ||
         is("PARTUUID=", device.partition_uuid) || is("PARTLABEL=", device.partition_label);
}

bool is_system_root(const DeviceGraph& graph, DeviceIndex at) {
  return std::ranges::find(graph[at].mounts, "/") != graph[at].mounts.end();
}

// Behind a root file system that anybody can plant, the latch protects nothing (design, "Latch").
bool root_is_plain(const DeviceGraph& graph, Stacks& stacks) {
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    if (is_system_root(graph, at)) return stacks.layers_of(at).protection >= Protection::converting;
  }
  return false;
}

class Judge {
 public:
  Judge(const DeviceGraph& graph, const Policy& policy, std::string_view today,
        const Records& records)
      : graph_(graph),
        policy_(policy),
        today_(today),
        records_(records),
        stacks_(graph),
        accounts_(graph, stacks_),
        root_is_plain_(root_is_plain(graph, stacks_)) {}

  VolumeVerdict judge(DeviceIndex at) {
    const Device& device = graph_[at];
    const Layers layers = stacks_.layers_of(at);
    VolumeVerdict verdict = describe(at, layers);
    const Rule* rule = deciding_rule(policy_, graph_, at);
    if (rule != nullptr) verdict.rule = rule->name;
    const Group& group = policy_.group(rule == nullptr ? "default" : rule->group);
    verdict.tenant = group.tenant;
    verdict.environment = group.environment;
    verdict.policy_group = group.name;
    const auto is_in_it = [&](DeviceIndex header) {
      return has(groups_of(header_at(header)), group.name);
    };
    if (verdict.group.empty() || std::ranges::any_of(layers.headers, is_in_it))
      verdict.group = group.name;

    if (records_.drills) add_drills(verdict, layers, group);
    decide(verdict, device, layers, group);
    suspend(verdict, layers);
    if (rule != nullptr) apply(verdict, *rule);
    return verdict;
  }

  // Whole disks: what everything else lies on.
  void count_disks(Coverage& coverage) {
    for (DeviceIndex at = 0; at < graph_.devices.size(); ++at) {
      const Device& device = graph_[at];
      const bool disk = device.kind == DeviceKind::disk || device.kind == DeviceKind::file ||
                        device.kind == DeviceKind::other || device.kind == DeviceKind::optical;
      if (!disk || !device.below.empty()) continue;
      coverage.disks.push_back({.name = device.path, .bytes = accounts_.of_disk(at)});
      coverage.bytes += coverage.disks.back().bytes;
    }
  }

  // What is written to a btrfs of several members may end up on any of them; mountinfo names one.
  void join_filesystems(std::vector<VolumeVerdict>& volumes) const {
    std::map<std::string, const VolumeVerdict*> worst;
    const std::vector<VolumeVerdict> before = volumes;
    for (const VolumeVerdict& volume : before) {
      const Content& content = content_at(volume.device);
      if (content.type != "btrfs" || content.uuid.empty()) continue;
      const VolumeVerdict*& found = worst[content.uuid];
      if (found == nullptr || volume.verdict > found->verdict) found = &volume;
    }
    for (VolumeVerdict& volume : volumes) {
      const Content& content = content_at(volume.device);
      if (content.type != "btrfs" || content.uuid.empty()) continue;
      const VolumeVerdict& other = *worst.at(content.uuid);
      if (other.verdict <= volume.verdict || other.verdict < Verdict::converting) continue;
      volume.verdict = other.verdict;
      volume.percent = other.percent;
      volume.reasons.push_back(
          fmt::format("{} is a member of the same btrfs", escaped(other.path)));
    }
  }

 private:
  // What is in the volume: above an open one.
  const Content& content_at(DeviceIndex at) const {
    const std::vector<DeviceIndex>& opened = stacks_.opened(at);
    return graph_[opened.empty() ? at : opened.front()].content;
  }

  std::string content_words(DeviceIndex at) const {
    const Device& device = graph_[at];
    if (device.luks && stacks_.opened(at).empty())
      return fmt::format("luks{} (locked)", device.luks->version);
    const Content& content = content_at(at);
    return escaped(content.type.empty() ? std::string(to_string(content.kind)) : content.type);
  }

  VolumeVerdict describe(DeviceIndex at, const Layers& layers) {
    const Device& device = graph_[at];
    VolumeVerdict verdict;
    verdict.path = device.path;
    verdict.name = device.name;
    verdict.device = at;
    verdict.size = device.size;
    verdict.content = content_words(at);
    verdict.mounts = device.mounts;
    if (device.luks) {
      verdict.luks_uuid = device.luks->uuid;
      verdict.opened = stacks_.opened(at).empty() ? "locked" : "open";
      for (const DeviceIndex above : stacks_.opened(at)) {
        verdict.mounts.insert(verdict.mounts.end(), graph_[above].mounts.begin(),
                              graph_[above].mounts.end());
      }
    }
    verdict.cipher = layers.cipher;
    verdict.key_bits = layers.key_bytes * 8;
    verdict.sector_size = layers.sector_size;
    verdict.integrity = layers.integrity;
    verdict.bytes = accounts_.of_volume(at);
    for (const DeviceIndex header : layers.headers) add_header(verdict, header);
    add_records(verdict);
    return verdict;
  }

  // Of volumes of LVM and the like: those of the first LUKS volume below.
  void add_records(VolumeVerdict& verdict) const {
    const auto of = [](const std::map<std::string, std::string>& all, const std::string& uuid) {
      const auto found = all.find(uuid);
      return found == all.end() ? "" : found->second;
    };
    const std::string& uuid = verdict.luks_uuid;
    if (uuid.empty()) return;
    verdict.header_backup = of(records_.header_backups, uuid);
    verdict.recovery_proven = of(records_.recovery_proven, uuid);
    if (const std::string by = of(records_.opened_by, uuid);
        verdict.opened == "open" && !by.empty())
      verdict.opened = by;
  }

  // Whether it is encrypted is known all the same.
  static void suspend(VolumeVerdict& verdict, const Layers& layers) {
    if (!layers.suspended) return;
    if (verdict.verdict == Verdict::covered || verdict.verdict == Verdict::covered_weak)
      verdict.verdict = Verdict::suspended;
    verdict.reasons.emplace_back("suspended: it can neither be read nor written");
  }

  LuksHeader header_at(DeviceIndex at) const { return graph_[at].luks.value_or(LuksHeader{}); }

  void add_header(VolumeVerdict& verdict, DeviceIndex at) const {
    const LuksHeader header = header_at(at);
    for (const std::string& protector : protectors_of(header))
      add_once(verdict.protectors, protector);
    for (EscrowRecord& escrow : escrows_of(header)) verdict.escrows.push_back(std::move(escrow));
    for (const std::string& group : groups_of(header)) verdict.group = group;
  }

  void add_drills(VolumeVerdict& verdict, const Layers& layers, const Group& group) const {
    if (!records_.drills) return;
    for (const DeviceIndex header : layers.headers) {
      for (DrillAge& age :
           drill_ages(header_at(header), *records_.drills, group.drill_days, today_))
        verdict.drills.push_back(std::move(age));
    }
  }

  void decide(VolumeVerdict& verdict, const Device& device, const Layers& layers,
              const Group& group) const {
    verdict.reasons = layers.reasons;
    switch (layers.protection) {
      case Protection::ephemeral: verdict.verdict = Verdict::covered; return;
      case Protection::converting:
        verdict.verdict = Verdict::converting;
        verdict.percent = layers.percent;
        return;
      case Protection::unknown: verdict.verdict = Verdict::unknown; return;
      case Protection::plain: decide_plain(verdict, device); return;
      case Protection::encrypted: break;
    }
    // A mapping that fails every read stores nothing, but nobody knows for how long.
    if (layers.cipher.empty() && device.content.kind == ContentKind::unreadable) {
      decide_plain(verdict, device);
      return;
    }
    add_weaknesses(verdict, layers, group);
    verdict.verdict = verdict.reasons.empty() ? Verdict::covered : Verdict::covered_weak;
  }

  void decide_plain(VolumeVerdict& verdict, const Device& device) const {
    verdict.verdict = Verdict::not_covered;
    const std::string name = escaped(device.path);
    switch (device.content.kind) {
      case ContentKind::blank:
        verdict.verdict = Verdict::unknown;
        verdict.reasons = {"blank: 'volseal enroll' would format it"};
        return;
      case ContentKind::unknown:
        verdict.verdict = Verdict::unknown;
        verdict.reasons = {hint_of_crypttab(device)};
        if (!verdict.reasons[0].empty()) return;
        verdict.reasons = {fmt::format("what is on it is not known; it may be data in clear{}{}",
                                       device.content.detail.empty() ? "" : ": ",
                                       escaped(device.content.detail))};
        return;
      case ContentKind::unreadable:
        verdict.verdict = Verdict::unknown;
        verdict.reasons = {fmt::format("it could not be read{}{}",
                                       device.content.detail.empty() ? "" : ": ",
                                       escaped(device.content.detail))};
        return;
      case ContentKind::hibernation:
        verdict.reasons.push_back(
            fmt::format("{}: a suspended system lies on it: its memory, keys included", name));
        return;
      case ContentKind::swap:
        if (graph_.resume == device.name)
          verdict.reasons.push_back(
              fmt::format("{}: hibernation writes all of the memory to it, keys included", name));
        return;
      case ContentKind::filesystem:
        if (device.content.fscrypt)
          verdict.reasons.push_back(
              fmt::format("{}: single directories may be encrypted (fscrypt); "
                          "sizes, the tree and all else are in clear",
                          name));
        return;
      case ContentKind::luks1:
      case ContentKind::luks2:
      case ContentKind::lvm_member:
      case ContentKind::md_member:
      case ContentKind::bcache_member:
      case ContentKind::partition_table:
      case ContentKind::other: return;
    }
  }

  // A volume whose header lies elsewhere shows nothing but random sectors.
  std::string hint_of_crypttab(const Device& device) const {
    for (const CrypttabEntry& entry : graph_.crypttab) {
      if (!answers_to(device, entry.source)) continue;
      return fmt::format("no header is on it; crypttab opens it as {} ({})", escaped(entry.name),
                         escaped(entry.options));
    }
    return "";
  }

  void add_weaknesses(VolumeVerdict& verdict, const Layers& layers, const Group& group) const {
    for (const std::string& weakness : layers.weaknesses) add_once(verdict.reasons, weakness);
    for (const DeviceIndex at : layers.headers) {
      const LuksHeader header = header_at(at);
      const std::string name = escaped(graph_[at].path);
      const std::vector<std::string> protectors = protectors_of(header);
      const bool tpm = has(protectors, "tpm");
      if (group.tpm.enabled && !tpm)
        add_once(verdict.reasons,
                 fmt::format("{}: no TPM protector, so it asks at every boot", name));
      for (const std::string& kind : group.recovery) {
        if (has(protectors, kind)) continue;
        add_once(verdict.reasons, fmt::format("{}: no {} protector, which group {} asks for", name,
                                              escaped(kind), escaped(group.name)));
      }
      for (const Token& token : header.tokens) {
        if (token.type != "systemd-fido2" || token.two_factors || !opens(header, token)) continue;
        add_once(verdict.reasons,
                 fmt::format("{}: a FIDO2 key opens it without PIN and touch, which is one factor",
                             name));
      }
      for (const Way& way : ways_in(header)) {
        // A key in escrow that a person got a copy of is one factor again.
        const bool copied = way.escrowed && group.escrow && group.escrow->show;
        const int factors = copied ? 1 : way.factors;
        if (!way.asks || factors >= group.factors) continue;
        add_once(verdict.reasons,
                 fmt::format("{}: keyslot {} ({}) takes {} factor{}, and group {} asks for {}",
                             name, way.keyslot, escaped(way.kind), factors, factors == 1 ? "" : "s",
                             escaped(group.name), group.factors));
      }
      for (const DrillAge& age : verdict.drills) {
        if (!age.overdue) continue;
        add_once(verdict.reasons,
                 fmt::format("{}: {}; group {} asks for a drill every {} days: 'volseal drill'",
                             escaped(verdict.path), drill_words(age), escaped(group.name),
                             group.drill_days));
      }
      if (group.escrow && escrows_of(header).empty()) {
        add_once(verdict.reasons,
                 fmt::format("{}: its recovery key is not in escrow, which group {} asks for: "
                             "'volseal escrow renew'",
                             name, escaped(group.name)));
      }
      if (tpm && root_is_plain_) {
        add_once(verdict.reasons, fmt::format("{}: the root file system is not encrypted, so "
                                              "whoever replaces it opens this volume",
                                              name));
      }
      add_group(verdict, header, name, group);
      for (const Keyslot& slot : header.keyslots) {
        // OWASP's floor for PBKDF2-HMAC-SHA512 is 210 000.
        if (slot.pbkdf == "pbkdf2" && slot.cost < 210'000 && !has_token(header, slot)) {
          add_once(verdict.reasons,
                   fmt::format("{}: keyslot {} stretches its passphrase {} times only", name,
                               slot.id, slot.cost));
        }
      }
    }
  }

  // A volume that another tenant's secret opens.
  static void add_group(VolumeVerdict& verdict, const LuksHeader& header, const std::string& name,
                        const Group& group) {
    if (const std::vector<std::string> groups = groups_of(header); groups.size() > 1) {
      std::vector<std::string> safe;
      safe.reserve(groups.size());
      for (const std::string& one : groups) safe.push_back(escaped(one));
      add_once(verdict.reasons,
               fmt::format("{}: in {} groups at once, and the secret of each opens it: {}", name,
                           groups.size(), fmt::join(safe, ", ")));
    }
    for (const Token& token : header.tokens) {
      if (token.group.empty() || token.group == group.name || !opens(header, token)) continue;
      add_once(verdict.reasons, fmt::format("{}: enrolled in group {}, and the policy says {}",
                                            name, escaped(token.group), escaped(group.name)));
    }
  }

  void apply(VolumeVerdict& verdict, const Rule& rule) const {
    const bool good = verdict.verdict == Verdict::covered ||
                      verdict.verdict == Verdict::covered_weak ||
                      verdict.verdict == Verdict::suspended;
    if (rule.action == Action::forbid) {
      verdict.verdict = Verdict::not_covered;
      verdict.reasons.insert(verdict.reasons.begin(),
                             fmt::format("forbidden: {}", escaped(rule.reason)));
    } else if (rule.action == Action::leave && !good) {
      if (expired(rule, today_)) {
        verdict.reasons.push_back(fmt::format("its exemption ended on {}", rule.until));
        return;
      }
      verdict.verdict = Verdict::exempt;
      verdict.until = rule.until;
      verdict.reasons = {rule.until.empty()
                             ? escaped(rule.reason)
                             : fmt::format("{} (until {})", escaped(rule.reason), rule.until)};
    }
  }

  const DeviceGraph& graph_;
  const Policy& policy_;
  std::string_view today_;
  const Records& records_;
  Stacks stacks_;
  Accounts accounts_;
  bool root_is_plain_;
};

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::covered: return "covered";
    case Verdict::exempt: return "exempt";
    case Verdict::covered_weak: return "covered-weak";
    case Verdict::suspended: return "suspended";
    case Verdict::converting: return "converting";
    case Verdict::unknown: return "unknown";
    case Verdict::not_covered: return "not-covered";
  }
  return "unknown";
}

std::string_view to_string(Subject subject) {
  switch (subject) {
    case Subject::device: return "device";
    case Subject::gap: return "gap";
    case Subject::swap_file: return "swap-file";
    case Subject::mount: return "mount";
    case Subject::dataset: return "dataset";
  }
  return "device";
}

int Coverage::exit_status() const {
  // Nothing seen is nothing proven.
  if (volumes.empty()) return 3;
  const auto any = [&](Verdict verdict) {
    return std::ranges::find(volumes, verdict, &VolumeVerdict::verdict) != volumes.end();
  };
  if (any(Verdict::not_covered) || any(Verdict::converting)) return 2;
  if (any(Verdict::unknown)) return 3;
  return any(Verdict::covered_weak) || any(Verdict::suspended) ? 1 : 0;
}

void count_tenants(Coverage& coverage) {
  std::map<std::pair<std::string, std::string>, ByteCount> tenants;
  for (const VolumeVerdict& volume : coverage.volumes)
    tenants[{volume.tenant, volume.environment}] += volume.bytes;
  coverage.tenants.clear();
  for (const auto& [owner, bytes] : tenants)
    coverage.tenants.push_back({.name = owner.first, .environment = owner.second, .bytes = bytes});
}

VolumeVerdict judge_one(const DeviceGraph& graph, const Policy& policy, std::string_view today,
                        DeviceIndex at, const Records& records) {
  return Judge(graph, policy, today, records).judge(container_of(graph, at).value_or(at));
}

Coverage judge(const DeviceGraph& real, const Policy& policy, std::string_view today,
               const Records& records) {
  const std::optional<Consumers> consumers = consumers_of(real);
  const DeviceGraph& graph = consumers ? consumers->graph : real;
  Coverage coverage{.host = graph.host, .taken_at = graph.taken_at, .policy = policy.source};
  Judge judge(graph, policy, today, records);
  for (const DeviceIndex at : volumes_of(graph)) {
    coverage.volumes.push_back(judge.judge(at));
    if (consumers) coverage.volumes.back().subject = consumers->subjects.at(at);
  }
  judge.join_filesystems(coverage.volumes);
  judge.count_disks(coverage);
  count_tenants(coverage);
  return coverage;
}

}  // namespace volseal
