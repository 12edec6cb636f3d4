#include "core/policy/policy.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>

namespace volseal {
namespace {

bool fits(const std::string& glob, const std::string& text, int flags = 0) {
  return ::fnmatch(glob.c_str(), text.c_str(), flags) == 0;
}

bool any_fits(const std::string& glob, const std::vector<std::string>& texts) {
  return std::ranges::any_of(texts, [&](const std::string& text) { return fits(glob, text); });
}

// The volume and what is opened from it: mappings, as long as each is the only thing on the one
// below and stands on nothing else.
std::vector<DeviceIndex> volume_and_opened(const DeviceGraph& graph, DeviceIndex at) {
  std::vector<DeviceIndex> chain{at};
  while (chain.size() <= graph.devices.size()) {
    const std::vector<DeviceIndex> above = graph.above(chain.back());
    if (above.size() != 1) break;
    const Device& upper = graph[above.front()];
    if (upper.kind != DeviceKind::mapped || upper.below.size() != 1) break;
    chain.push_back(above.front());
  }
  return chain;
}

std::vector<std::string> names_of(const Device& device) {
  std::vector<std::string> names = device.links;
  names.push_back(device.path);
  // An image file's name is its path already.
  if (!device.name.starts_with('/')) names.push_back("/dev/" + device.name);
  return names;
}

bool tag_is(std::string_view source, std::string_view tag, const std::string& value) {
  if (value.empty() || !source.starts_with(tag)) return false;
  source.remove_prefix(tag.size());
  if (source.size() >= 2 && source.front() == '"' && source.back() == '"') {
    source = source.substr(1, source.size() - 2);
  }
  return source == value;
}

// fstab(5): the first field.
bool answers_to(const Device& device, const std::string& source) {
  if (source.starts_with('/')) {
    return source == device.path || std::ranges::find(device.links, source) != device.links.end() ||
           (source.starts_with("/dev/") && source.substr(5) == device.name);
  }
  return tag_is(source, "UUID=", device.content.uuid) ||
         tag_is(source, "LABEL=", device.content.label) ||
         tag_is(source, "PARTUUID=", device.partition_uuid) ||
         tag_is(source, "PARTLABEL=", device.partition_label);
}

bool contains(const std::vector<DeviceIndex>& list, DeviceIndex at) {
  return std::ranges::find(list, at) != list.end();
}

// Asked of every line for every volume: what is cheap and mostly says no comes first.
bool fstab_means_it(const DeviceGraph& graph, const FstabEntry& entry,
                    const std::vector<DeviceIndex>& chain) {
  const auto answers = [&](DeviceIndex at) { return answers_to(graph[at], entry.source); };
  if (std::ranges::none_of(chain, answers)) return false;
  for (DeviceIndex other = 0; other < graph.devices.size(); ++other) {
    if (contains(chain, other)) continue;
    const std::vector<std::string>& mounts = graph[other].mounts;
    if (std::ranges::find(mounts, entry.target) != mounts.end() || answers(other)) return false;
  }
  return true;
}

std::vector<std::string> mount_points(const DeviceGraph& graph,
                                      const std::vector<DeviceIndex>& chain) {
  std::set<std::string> points;
  for (const DeviceIndex index : chain) {
    points.insert(graph[index].mounts.begin(), graph[index].mounts.end());
  }
  for (const FstabEntry& entry : graph.fstab) {
    if (!entry.target.starts_with('/')) continue;  // "none", of swap
    if (fstab_means_it(graph, entry, chain)) points.insert(entry.target);
  }
  return {points.begin(), points.end()};
}

// lvm(8): the device-mapper name is VG-LV with every '-' inside of a name doubled, and -LAYER
// behind it for what LVM keeps for itself.
struct LogicalVolume {
  std::string group;
  std::string name;
};

std::optional<LogicalVolume> logical_volume(const Device& device) {
  if (device.kind != DeviceKind::mapped || !device.dm_uuid.starts_with("LVM-")) return std::nullopt;
  std::vector<std::string> parts(1);
  const std::string& text = device.dm_name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '-') {
      parts.back() += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == '-') {
      parts.back() += text[i++];
    } else {
      parts.emplace_back();
    }
  }
  if (parts.size() < 2) return std::nullopt;
  return LogicalVolume{.group = parts[0], .name = parts[1]};
}

// The logical volume that it is, or whose only mapping it is.
std::optional<LogicalVolume> logical_volume_of(const DeviceGraph& graph, DeviceIndex at) {
  for (std::size_t steps = 0; steps <= graph.devices.size(); ++steps) {
    if (auto found = logical_volume(graph[at])) return found;
    if (graph[at].kind != DeviceKind::mapped || graph[at].below.size() != 1) break;
    at = graph[at].below.front();
  }
  return std::nullopt;
}

class Candidate {
 public:
  Candidate(const DeviceGraph& graph, DeviceIndex at)
      : graph_(graph),
        at_(at),
        chain_(volume_and_opened(graph, at)),
        mounts_(mount_points(graph, chain_)) {}

  // `any_disk`: one of the disks below is enough.
  bool matches(const Match& match, bool any_disk) const {
    return (!match.path || any_of_chain([&](const Device& device) {
             return any_fits(*match.path, names_of(device));
           })) &&
           (!match.mount || any_fits(*match.mount, mounts_)) &&
           (!match.filesystem || any_of_chain([&](const Device& device) {
             return filesystem_fits(*match.filesystem, device.content);
           })) &&
           (!match.label ||
            any_of_chain([&](const Device& device) { return label_fits(*match.label, device); })) &&
           (!match.partition_type ||
            fits(*match.partition_type, graph_[at_].partition_type, FNM_CASEFOLD)) &&
           matches_lvm(match) && matches_md(match) && matches_disks(match, any_disk) &&
           matches_size(match);
  }

 private:
  template <typename F>
  bool any_of_chain(F holds) const {
    return std::ranges::any_of(chain_, [&](DeviceIndex index) { return holds(graph_[index]); });
  }

  static bool filesystem_fits(const std::string& glob, const Content& content) {
    if (content.kind == ContentKind::blank) return fits(glob, "blank");
    return !content.type.empty() && fits(glob, content.type);
  }

  static bool label_fits(const std::string& glob, const Device& device) {
    return (!device.content.label.empty() && fits(glob, device.content.label)) ||
           (!device.partition_label.empty() && fits(glob, device.partition_label));
  }

  bool matches_lvm(const Match& match) const {
    if (!match.vg && !match.lv) return true;
    const auto volume = logical_volume_of(graph_, at_);
    return volume && (!match.vg || fits(*match.vg, volume->group)) &&
           (!match.lv || fits(*match.lv, volume->name));
  }

  bool matches_md(const Match& match) const {
    if (!match.md_level) return true;
    return std::ranges::any_of(graph_.closure_below(at_), [&](DeviceIndex index) {
      const Device& device = graph_[index];
      return device.kind == DeviceKind::md && fits(*match.md_level, device.md_level);
    });
  }

  // Bus, removability and rotation are those of the hardware at the bottom. One forbidden leg
  // taints the volume; one harmless leg excuses none of the others.
  bool matches_disks(const Match& match, bool any_disk) const {
    if (!match.bus && !match.removable && !match.rotational) return true;
    const std::vector<DeviceIndex> disks = graph_.disks_below(at_);
    const auto holds = [&](DeviceIndex index) {
      const Device& disk = graph_[index];
      return (!match.bus || fits(*match.bus, disk.bus)) &&
             (!match.removable || disk.removable == *match.removable) &&
             (!match.rotational || disk.rotational == *match.rotational);
    };
    if (any_disk) return std::ranges::any_of(disks, holds);
    return !disks.empty() && std::ranges::all_of(disks, holds);
  }

  bool matches_size(const Match& match) const {
    const std::uint64_t size = graph_[at_].size;
    return (!match.smaller_than || size < *match.smaller_than) &&
           (!match.larger_than || size > *match.larger_than);
  }

  const DeviceGraph& graph_;
  DeviceIndex at_;
  std::vector<DeviceIndex> chain_;
  std::vector<std::string> mounts_;
};

}  // namespace

std::vector<std::string> mount_points(const DeviceGraph& graph, DeviceIndex at) {
  return mount_points(graph, volume_and_opened(graph, at));
}

const Rule* deciding_rule(const Policy& policy, const DeviceGraph& graph, DeviceIndex at) {
  const Candidate candidate(graph, at);
  const auto decides = [&](const Rule& rule) {
    return candidate.matches(rule.match, rule.action == Action::forbid);
  };
  const auto found = std::ranges::find_if(policy.rules, decides);
  return found == policy.rules.end() ? nullptr : &*found;
}

namespace {

bool is_enrolled_here(const Device& device) {
  return device.luks && std::ranges::any_of(device.luks->tokens, [](const Token& token) {
           return token.type == "volseal-tpm2";
         });
}

// Whether the rule can do what it says.
bool applies(const WatchRule& rule, const DeviceGraph& graph, DeviceIndex at,
             std::string_view today) {
  switch (rule.response) {
    case Response::allow: return !expired(rule, today);
    case Response::enroll: return graph[at].content.kind == ContentKind::blank && graph.is_leaf(at);
    case Response::unlock: return is_enrolled_here(graph[at]);
    case Response::notify:
    case Response::quarantine:
    case Response::deauthorize: break;
  }
  return true;
}

bool denies(const WatchRule& rule) {
  return rule.response == Response::quarantine || rule.response == Response::deauthorize;
}

}  // namespace

const WatchRule* deciding_watch_rule(const Policy& policy, const DeviceGraph& graph, DeviceIndex at,
                                     std::string_view today) {
  const Candidate candidate(graph, at);
  std::vector<Candidate> disks;
  for (const DeviceIndex disk : graph.disks_below(at)) {
    if (disk != at) disks.emplace_back(graph, disk);
  }
  const auto decides = [&](const WatchRule& rule) {
    if (!applies(rule, graph, at, today)) return false;
    if (candidate.matches(rule.match, denies(rule))) return true;
    return rule.response == Response::allow && !disks.empty() &&
           std::ranges::all_of(
               disks, [&](const Candidate& disk) { return disk.matches(rule.match, false); });
  };
  const auto found = std::ranges::find_if(policy.watch.rules, decides);
  return found == policy.watch.rules.end() ? nullptr : &*found;
}

}  // namespace volseal
