#include "core/coverage/coverage.h"

#include "core/base/escape.h"
#include "core/coverage/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

void add_once(std::vector<std::string>& list, const std::string& text) {
  if (std::ranges::find(list, text) == list.end()) list.push_back(text);
}

std::string protector_of(const std::string& token_type) {
  if (token_type == "volseal-tpm2") return "tpm";
  if (token_type == "systemd-recovery") return "recovery-key";
  if (token_type == "systemd-fido2") return "fido2";
  return escaped(token_type);
}

std::string content_of(const DeviceGraph& graph, DeviceIndex at) {
  const Device& device = graph[at];
  if (device.luks) {
    for (const DeviceIndex above : opened_volumes(graph, at)) {
      const Content& inside = graph[above].content;
      return escaped(inside.type.empty() ? std::string(to_string(inside.kind)) : inside.type);
    }
    return fmt::format("luks{} (locked)", device.luks->version);
  }
  return escaped(device.content.type.empty() ? std::string(to_string(device.content.kind))
                                             : device.content.type);
}

bool is_system_root(const DeviceGraph& graph, DeviceIndex at) {
  return std::ranges::find(graph[at].mounts, "/") != graph[at].mounts.end();
}

// Behind a root file system that anybody can plant, the latch protects nothing (design, "Latch").
bool root_is_plain(const DeviceGraph& graph) {
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    if (is_system_root(graph, at)) return layers_of(graph, at).protection >= Protection::converting;
  }
  return false;
}

class Judge {
 public:
  Judge(const DeviceGraph& graph, const Policy& policy, std::string_view today)
      : graph_(graph), policy_(policy), today_(today), root_is_plain_(root_is_plain(graph)) {}

  VolumeVerdict judge(DeviceIndex at) const {
    const Device& device = graph_[at];
    const Layers layers = layers_of(graph_, at);
    VolumeVerdict verdict = describe(at, layers);
    const Rule* rule = deciding_rule(policy_, graph_, at);
    if (rule != nullptr) verdict.rule = rule->name;
    const Group& group = policy_.group(rule == nullptr ? "default" : rule->group);
    verdict.tenant = group.tenant;
    verdict.environment = group.environment;
    if (verdict.group.empty()) verdict.group = group.name;

    decide(verdict, device, layers, group);
    if (rule != nullptr) apply(verdict, *rule);
    return verdict;
  }

 private:
  VolumeVerdict describe(DeviceIndex at, const Layers& layers) const {
    const Device& device = graph_[at];
    VolumeVerdict verdict;
    verdict.path = device.path;
    verdict.name = device.name;
    verdict.device = at;
    verdict.size = device.size;
    verdict.content = content_of(graph_, at);
    verdict.mounts = device.mounts;
    if (device.luks) {
      verdict.luks_uuid = device.luks->uuid;
      for (const DeviceIndex above : opened_volumes(graph_, at)) {
        verdict.mounts.insert(verdict.mounts.end(), graph_[above].mounts.begin(),
                              graph_[above].mounts.end());
      }
    }
    verdict.cipher = layers.cipher;
    verdict.key_bits = layers.key_bytes * 8;
    verdict.sector_size = layers.sector_size;
    for (const DeviceIndex header : layers.headers) list_protectors(verdict, *graph_[header].luks);
    return verdict;
  }

  static void list_protectors(VolumeVerdict& verdict, const LuksHeader& header) {
    for (const Token& token : header.tokens) {
      if (token.keyslots.empty()) continue;
      add_once(verdict.protectors, protector_of(token.type));
      if (!token.group.empty()) verdict.group = token.group;
    }
    for (const Keyslot& slot : header.keyslots) {
      const bool named = std::ranges::any_of(header.tokens, [&](const Token& token) {
        return std::ranges::find(token.keyslots, slot.id) != token.keyslots.end();
      });
      if (!named && slot.type != "reencrypt") add_once(verdict.protectors, "passphrase");
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
    add_weaknesses(verdict, layers, group);
    verdict.verdict = verdict.reasons.empty() ? Verdict::covered : Verdict::covered_weak;
  }

  static void decide_plain(VolumeVerdict& verdict, const Device& device) {
    verdict.verdict = Verdict::not_covered;
    switch (device.content.kind) {
      case ContentKind::blank:
        verdict.verdict = Verdict::unknown;
        verdict.reasons = {"blank: 'volseal enroll' would format it"};
        return;
      case ContentKind::unknown:
        verdict.verdict = Verdict::unknown;
        verdict.reasons = {"what is on it is not known; it may be data in clear"};
        return;
      case ContentKind::unreadable:
        verdict.verdict = Verdict::unknown;
        verdict.reasons = {fmt::format("it could not be read{}{}",
                                       device.content.detail.empty() ? "" : ": ",
                                       escaped(device.content.detail))};
        return;
      case ContentKind::filesystem:
      case ContentKind::swap:
      case ContentKind::hibernation:
      case ContentKind::luks1:
      case ContentKind::luks2:
      case ContentKind::lvm_member:
      case ContentKind::md_member:
      case ContentKind::bcache_member:
      case ContentKind::partition_table:
      case ContentKind::other: return;
    }
  }

  void add_weaknesses(VolumeVerdict& verdict, const Layers& layers, const Group& group) const {
    for (const std::string& weakness : layers.weaknesses) add_once(verdict.reasons, weakness);
    for (const DeviceIndex at : layers.headers) {
      const LuksHeader& header = *graph_[at].luks;
      const std::string name = escaped(graph_[at].path);
      const auto has = [&](std::string_view type) {
        return std::ranges::any_of(header.tokens, [&](const Token& token) {
          return token.type == type && !token.keyslots.empty();
        });
      };
      const bool tpm = has("volseal-tpm2");
      if (group.tpm.enabled && !tpm)
        add_once(verdict.reasons,
                 fmt::format("{}: no TPM protector, so it asks at every boot", name));
      if (!has("systemd-recovery") && !has("systemd-fido2")) {
        add_once(verdict.reasons, fmt::format("{}: no recovery key and no FIDO2 key", name));
      }
      if (tpm && root_is_plain_) {
        add_once(verdict.reasons, fmt::format("{}: the root file system is not encrypted, so "
                                              "whoever replaces it opens this volume",
                                              name));
      }
      for (const Keyslot& slot : header.keyslots) {
        const bool typed =
            slot.pbkdf == "pbkdf2" && std::ranges::none_of(header.tokens, [&](const Token& token) {
              return std::ranges::find(token.keyslots, slot.id) != token.keyslots.end();
            });
        // OWASP's floor for PBKDF2-HMAC-SHA512 is 210 000.
        if (typed && slot.cost < 210'000) {
          add_once(verdict.reasons,
                   fmt::format("{}: keyslot {} stretches its passphrase {} times only", name,
                               slot.id, slot.cost));
        }
      }
    }
  }

  void apply(VolumeVerdict& verdict, const Rule& rule) const {
    const bool good =
        verdict.verdict == Verdict::covered || verdict.verdict == Verdict::covered_weak;
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
      verdict.reasons = {rule.until.empty()
                             ? escaped(rule.reason)
                             : fmt::format("{} (until {})", escaped(rule.reason), rule.until)};
    }
  }

  const DeviceGraph& graph_;
  const Policy& policy_;
  std::string_view today_;
  bool root_is_plain_;
};

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::covered: return "covered";
    case Verdict::exempt: return "exempt";
    case Verdict::covered_weak: return "covered-weak";
    case Verdict::converting: return "converting";
    case Verdict::unknown: return "unknown";
    case Verdict::not_covered: return "not-covered";
  }
  return "unknown";
}

int Coverage::exit_status() const {
  const auto any = [&](Verdict verdict) {
    return std::ranges::find(volumes, verdict, &VolumeVerdict::verdict) != volumes.end();
  };
  if (any(Verdict::not_covered) || any(Verdict::converting)) return 2;
  if (any(Verdict::unknown)) return 3;
  return any(Verdict::covered_weak) ? 1 : 0;
}

Coverage judge(const DeviceGraph& graph, const Policy& policy, std::string_view today) {
  Coverage coverage{
      .host = graph.host, .taken_at = graph.taken_at, .policy = policy.source, .volumes = {}};
  const Judge judge(graph, policy, today);
  for (const DeviceIndex at : volumes_of(graph)) coverage.volumes.push_back(judge.judge(at));
  return coverage;
}

}  // namespace volseal
