#include "core/coverage/explain.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/coverage/consumers.h"
#include "core/coverage/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t most_steps = 2'000;
constexpr int deepest_step = 64;
constexpr std::uint64_t sector_bytes = 512;

std::string words_of(const Device& device) {
  switch (device.kind) {
    case DeviceKind::partition: return "partition";
    case DeviceKind::md: return "array " + escaped(device.md_level);
    case DeviceKind::loop: return "file " + escaped(device.backing_file);
    case DeviceKind::zram: return "memory";
    case DeviceKind::network: return "on another machine";
    case DeviceKind::file: return "image file";
    case DeviceKind::mapped: return "mapping";
    case DeviceKind::disk:
    case DeviceKind::optical:
    case DeviceKind::other: break;
  }
  std::string text(to_string(device.kind));
  for (const std::string* word : {&device.bus, &device.vendor, &device.model}) {
    if (!word->empty()) text += ' ' + escaped(*word);
  }
  return text;
}

std::string words_of(const Segment& segment) {
  if (segment.cipher.empty() && segment.target != "crypt") return escaped(segment.target);
  std::string text = fmt::format("{} {}", escaped(segment.target),
                                 segment.cipher.empty() ? "null" : escaped(segment.cipher));
  if (segment.key_bytes != 0) text += fmt::format(", {} bit", segment.key_bytes * 8);
  if (!segment.integrity.empty()) text += ", integrity " + escaped(segment.integrity);
  return text;
}

class Walker {
 public:
  explicit Walker(const DeviceGraph& graph) : graph_(graph), stacks_(graph) {
    for (DeviceIndex at = 0; at < graph.devices.size(); ++at) by_name_.emplace(graph[at].name, at);
  }

  Step walk(DeviceIndex at, ByteRange bytes, bool sealed, int depth) {
    const Device& device = graph_[at];
    Step step{.path = device.path,
              .what = words_of(device),
              .bytes = bytes,
              .state = sealed ? Step::State::sealed : Step::State::open,
              .below = {}};
    if (++steps_ > most_steps || depth > deepest_step) {
      cut_ = true;
      step.state = sealed ? Step::State::sealed : Step::State::unknown;
      return step;
    }
    if (device.kind == DeviceKind::mapped) {
      through_table(step, device, bytes, sealed, depth);
    } else {
      through_device(step, at, bytes, sealed, depth);
    }
    return step;
  }

  // A volume is what is written into it: above its header, where it is open.
  Step start(DeviceIndex at, ByteRange bytes) {
    if (!graph_[at].luks) return walk(at, bytes, false, 0);
    const std::vector<DeviceIndex>& open = stacks_.opened(at);
    if (!open.empty())
      return walk(open.front(), {.start = 0, .size = graph_[open.front()].size}, false, 0);
    const Layers claimed = stacks_.layers_of(at);
    const bool encrypted = claimed.protection == Protection::encrypted;
    Step step = walk(at, bytes, encrypted, 0);
    const LuksHeader header = graph_[at].luks.value_or(LuksHeader{});
    step.what = fmt::format("LUKS{} {}, locked", header.version, escaped(claimed.cipher));
    if (encrypted) step.state = Step::State::encrypted;
    return step;
  }

  std::vector<Leaf> take_leaks() { return std::move(leaks_); }
  bool cut() const { return cut_; }

 private:
  void leak(Step& step, bool unknown) {
    step.state = unknown ? Step::State::unknown : Step::State::leak;
    leaks_.push_back({.path = step.path, .bytes = step.bytes, .unknown = unknown});
  }

  std::optional<DeviceIndex> find(const std::string& name) const {
    const auto at = by_name_.find(name);
    return at == by_name_.end() ? std::nullopt : std::optional(at->second);
  }

  void add_below(Step& step, const std::string& name, std::optional<ByteRange> bytes, bool sealed,
                 int depth) {
    if (const auto lower = find(name)) {
      step.below.push_back(walk(*lower,
                                bytes.value_or(ByteRange{.start = 0, .size = graph_[*lower].size}),
                                sealed, depth + 1));
      return;
    }
    Step missing{.path = name,
                 .what = "was not found",
                 .bytes = {},
                 .state = Step::State::sealed,
                 .below = {}};
    if (!sealed) leak(missing, true);
    step.below.push_back(std::move(missing));
  }

  // One segment: said in the same line. Several: a line each.
  void through_table(Step& step, const Device& device, ByteRange bytes, bool sealed, int depth) {
    if (device.table.empty()) {
      step.what = "mapping without a table";
      if (!sealed) leak(step, true);
      return;
    }
    const bool single = device.table.size() == 1;
    if (!single) step.what = fmt::format("{} segments", device.table.size());
    for (const Segment& segment : device.table) {
      const std::uint64_t from = std::max(bytes.start, segment.start * sector_bytes);
      const std::uint64_t to =
          std::min(bytes.start + bytes.size, (segment.start + segment.length) * sector_bytes);
      // A dataset has no size of its own.
      if (from >= to && segment.length != 0) continue;
      const ByteRange part{.start = from, .size = to > from ? to - from : 0};
      if (single) {
        step.what = words_of(segment);
        through_segment(step, device, segment, part, sealed, depth);
        continue;
      }
      Step line{.path = step.path,
                .what = words_of(segment),
                .bytes = part,
                .state = step.state,
                .below = {}};
      through_segment(line, device, segment, part, sealed, depth);
      step.below.push_back(std::move(line));
    }
  }

  void through_segment(Step& step, const Device& device, const Segment& segment, ByteRange part,
                       bool sealed, int depth) {
    if (segment.target == "zero" || segment.target == "error") {
      step.state = Step::State::nothing;
      return;
    }
    const bool layer = segment.target == "crypt" || segment.target == "zfs";
    if (layer && !sealed && !encrypts_nothing(segment.cipher)) {
      step.state = is_belied(device.sample) ? Step::State::open : Step::State::encrypted;
      if (is_belied(device.sample)) step.what += ", and yet what lies below can be read";
      sealed = step.state == Step::State::encrypted;
    }
    const bool exact = segment.devices.size() == 1 && segment.offsets.size() == 1 &&
                       (segment.target == "linear" || segment.target == "crypt");
    std::vector<std::string> names = segment.devices;
    if (segment.target == "snapshot-origin") {
      for (std::string& store : stacks_.stores_of(segment.devices))
        names.push_back(std::move(store));
    }
    if (names.empty()) {
      for (const DeviceIndex lower : device.below) names.push_back(graph_[lower].name);
    }
    for (const std::string& name : names) {
      std::optional<ByteRange> bytes;
      if (exact) {
        bytes = {
            .start = segment.offsets[0] * sector_bytes + part.start - segment.start * sector_bytes,
            .size = part.size};
      }
      add_below(step, name, bytes, sealed, depth);
    }
    if (names.empty() && !sealed) leak(step, true);
  }

  void through_device(Step& step, DeviceIndex at, ByteRange bytes, bool sealed, int depth) {
    const Device& device = graph_[at];
    if (!device.backing_device.empty()) {
      add_below(step, device.backing_device, std::nullopt, sealed, depth);
      return;
    }
    if (device.kind == DeviceKind::partition && device.below.size() == 1) {
      const ByteRange on_disk{.start = device.start + bytes.start, .size = bytes.size};
      step.below.push_back(walk(device.below[0], on_disk, sealed, depth + 1));
      return;
    }
    for (const DeviceIndex lower : device.below) {
      step.below.push_back(
          walk(lower, {.start = 0, .size = graph_[lower].size}, sealed, depth + 1));
    }
    if (sealed) return;
    // The end of the way, or one that cannot be seen.
    if (device.kind == DeviceKind::zram) {
      if (device.below.empty()) step.state = Step::State::nothing;
      return;
    }
    if (device.opal == "locked" || device.opal == "unlocked") {
      step.state = Step::State::encrypted;
      step.what += ", encrypts by itself (Opal)";
      return;
    }
    const bool remote = device.kind == DeviceKind::network || device.bus == "iscsi" ||
                        device.bus.starts_with("nvme-") || device.kind == DeviceKind::loop;
    if (remote || device.below.empty()) leak(step, remote);
  }

  const DeviceGraph& graph_;
  Stacks stacks_;
  std::unordered_map<std::string, DeviceIndex> by_name_;
  std::vector<Leaf> leaks_;
  std::size_t steps_ = 0;
  bool cut_ = false;
};

std::optional<DeviceIndex> find_volume(const DeviceGraph& graph, const std::string& name) {
  if (const auto at = graph.find(name)) return at;
  // What was mounted there last hides what was before.
  for (DeviceIndex at = graph.devices.size(); at-- > 0;) {
    const std::vector<std::string>& mounts = graph[at].mounts;
    if (std::ranges::find(mounts, name) != mounts.end()) return at;
  }
  return std::nullopt;
}

// Neighbours become one.
void join_leaks(std::vector<Leaf>& leaks) {
  std::ranges::stable_sort(leaks, [](const Leaf& one, const Leaf& other) {
    return std::pair(one.path, one.bytes.start) < std::pair(other.path, other.bytes.start);
  });
  std::vector<Leaf> joined;
  for (Leaf& leaf : leaks) {
    if (!joined.empty() && joined.back().path == leaf.path &&
        joined.back().unknown == leaf.unknown &&
        leaf.bytes.start <= joined.back().bytes.start + joined.back().bytes.size) {
      ByteRange& bytes = joined.back().bytes;
      bytes.size =
          std::max(bytes.start + bytes.size, leaf.bytes.start + leaf.bytes.size) - bytes.start;
    } else {
      joined.push_back(std::move(leaf));
    }
  }
  leaks = std::move(joined);
}

}  // namespace

Explanation explain(const DeviceGraph& real, const Policy& policy, std::string_view today,
                    const std::string& name, const std::vector<ByteRange>& parts,
                    const Records& records) {
  const std::optional<Consumers> consumers = consumers_of(real);
  const DeviceGraph& graph = consumers ? consumers->graph : real;
  const auto at = find_volume(graph, name);
  if (!at) throw Error(Code::not_found, "explain {}: no such device, file or mount", escaped(name));
  Explanation result{.verdict = judge_one(graph, policy, today, *at, records),
                     .top = {},
                     .leaks = {},
                     .cut = false};
  Walker walker(graph);
  if (parts.empty()) {
    result.top = walker.start(*at, {.start = 0, .size = graph[*at].size});
  } else {
    result.top = {.path = graph[*at].path,
                  .what = fmt::format("{} extents of the file", parts.size()),
                  .bytes = {.start = 0, .size = graph[*at].size},
                  .state = Step::State::open,
                  .below = {}};
    for (const ByteRange& part : parts)
      result.top.below.push_back(walker.walk(*at, part, false, 1));
  }
  result.leaks = walker.take_leaks();
  join_leaks(result.leaks);
  result.cut = walker.cut();
  return result;
}

std::string_view to_string(Step::State state) {
  switch (state) {
    case Step::State::open: return "open";
    case Step::State::encrypted: return "encrypted";
    case Step::State::sealed: return "sealed";
    case Step::State::leak: return "leak";
    case Step::State::unknown: return "unknown";
    case Step::State::nothing: return "nothing";
  }
  return "unknown";
}

}  // namespace volseal
