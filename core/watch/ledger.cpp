#include "core/watch/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t max_unseen = 10'000;

// A name is used again for another disk; its sequence number is not. Partitions have their disk's.
std::uint64_t diskseq_of(const DeviceGraph& graph, DeviceIndex at) {
  const Device& device = graph[at];
  if (device.diskseq != 0 || device.kind != DeviceKind::partition || device.below.empty())
    return device.diskseq;
  return graph[device.below.front()].diskseq;
}

// A disk that is being pulled out loses its serial number before it is gone: that counts only where
// the kernel numbers no disks.
bool same_device(const DeviceGraph& a, DeviceIndex at_a, const DeviceGraph& b, DeviceIndex at_b) {
  const Device& one = a[at_a];
  const Device& other = b[at_b];
  if (one.name != other.name || one.start != other.start) return false;
  const std::uint64_t diskseq = diskseq_of(a, at_a);
  return diskseq == diskseq_of(b, at_b) && (diskseq != 0 || one.serial == other.serial);
}

std::optional<DeviceIndex> find_device(const DeviceGraph& in, const DeviceGraph& graph,
                                       DeviceIndex at) {
  for (DeviceIndex i = 0; i < in.devices.size(); ++i) {
    if (same_device(in, i, graph, at)) return i;
  }
  return std::nullopt;
}

const VolumeVerdict* find_volume(const Sighting& in, const DeviceGraph& graph, DeviceIndex at) {
  for (const VolumeVerdict& volume : in.coverage.volumes) {
    if (same_device(in.graph, volume.device, graph, at)) return &volume;
  }
  return nullptr;
}

std::string port_of(const Sighting& seen, const Device& disk) {
  constexpr std::string_view by_path = "/dev/disk/by-path/";
  for (const std::string& link : disk.links) {
    if (link.starts_with(by_path)) return link.substr(by_path.size());
  }
  // USB 1-4 is more use to a person than nothing, where udev has no path.
  const auto port = seen.ports.find(disk.name);
  return port == seen.ports.end() ? "" : port->second;
}

bool encrypted(Verdict verdict) {
  return verdict == Verdict::covered || verdict == Verdict::covered_weak ||
         verdict == Verdict::suspended;
}

std::string said(std::string_view text) {
  return text.empty() ? "nothing" : std::string(text);
}

// What a person would want to be told. Opening, mounting and using an encrypted volume is its
// everyday life; that something else is in it, or opens it, is not.
std::vector<std::string> changes_between(const Sighting& before, const VolumeVerdict& was,
                                         const Sighting& now, const VolumeVerdict& is) {
  std::vector<std::string> changes;
  const Device& old_device = before.graph[was.device];
  const Device& device = now.graph[is.device];
  const bool same_luks =
      encrypted(was.verdict) && encrypted(is.verdict) && was.luks_uuid == is.luks_uuid;
  if (was.verdict != is.verdict) {
    changes.push_back(fmt::format("was {}, is {}", to_string(was.verdict), to_string(is.verdict)));
  }
  if (old_device.content.type != device.content.type ||
      old_device.content.kind != device.content.kind || (was.content != is.content && !same_luks)) {
    changes.push_back(fmt::format("held {}, holds {}", said(was.content), said(is.content)));
  } else if (old_device.content.uuid != device.content.uuid || was.luks_uuid != is.luks_uuid) {
    changes.emplace_back("was formatted anew");
  }
  if (was.protectors != is.protectors && same_luks) {
    changes.push_back(fmt::format("opened with {}, opens with {}",
                                  said(fmt::format("{}", fmt::join(was.protectors, ", "))),
                                  said(fmt::format("{}", fmt::join(is.protectors, ", ")))));
  }
  if (was.size != is.size)
    changes.push_back(fmt::format("had {} bytes, has {}", was.size, is.size));
  if (!encrypted(is.verdict) && is.verdict != Verdict::exempt) {
    for (const std::string& mount : is.mounts) {
      if (std::ranges::find(was.mounts, mount) == was.mounts.end())
        changes.push_back("is mounted at " + mount);
    }
    if (device.swap_active && !old_device.swap_active) changes.emplace_back("is swapped to");
  }
  return changes;
}

// Names of everything that the volume rests on and that rests on it.
std::vector<std::string> related_names(const DeviceGraph& graph, DeviceIndex at) {
  std::vector<std::string> names;
  for (const DeviceIndex index : graph.closure_below(at)) names.push_back(graph[index].name);
  std::vector<DeviceIndex> up = graph.above(at);
  for (std::size_t i = 0; i < up.size(); ++i) {
    names.push_back(graph[up[i]].name);
    for (const DeviceIndex higher : graph.above(up[i])) {
      if (std::ranges::find(up, higher) == up.end()) up.push_back(higher);
    }
  }
  return names;
}

void attribute(Finding& finding, const DeviceGraph& graph, const Burst& burst) {
  const std::vector<std::string> names = related_names(graph, finding.volume.device);
  for (Origin& origin : finding.from) {
    const auto named = [&](const DeviceEvent& event) {
      return event.name == origin.name && !event.port.empty();
    };
    const auto event = std::ranges::find_if(burst.events, named);
    if (origin.port.empty() && event != burst.events.end()) origin.port = event->port;
  }
  // The nearest name that an event speaks of: the volume's own before its disk's.
  for (const std::string& name : names) {
    const auto event = std::ranges::find(burst.events, name, &DeviceEvent::name);
    if (event == burst.events.end()) continue;
    finding.noticed_by = "event";
    finding.seqnum = event->seqnum;
    return;
  }
  const auto about = [&](std::string_view start) {
    return std::ranges::any_of(
        finding.changes, [&](const std::string& change) { return change.starts_with(start); });
  };
  if (burst.mounts && about("is mounted"))
    finding.noticed_by = "mounts";
  else if (burst.swaps && about("is swapped"))
    finding.noticed_by = "swaps";
  else
    finding.noticed_by = "rescan";
}

// What carries data by itself. Mappings, loops and the like rest on devices that are watched, and
// come and go with every command that makes them.
bool is_carrier(const DeviceEvent& event) {
  static constexpr std::array<std::string_view, 7> made = {"dm-", "loop",   "zram", "ram",
                                                           "md",  "bcache", "nbd"};
  return event.type == "disk" && !event.from_udevd &&
         std::ranges::none_of(
             made, [&](std::string_view start) { return event.name.starts_with(start); });
}

bool is_there(const DeviceGraph& graph, const DeviceEvent& event) {
  return std::ranges::any_of(graph.devices, [&](const Device& device) {
    return device.name == event.name &&
           (event.diskseq == 0 || device.diskseq == 0 || device.diskseq == event.diskseq);
  });
}

// udevd knows more than the kernel, if it came to say so.
Origin origin_of(const DeviceEvent& event, const Burst& burst) {
  const auto settled = std::ranges::find_if(burst.events, [&](const DeviceEvent& other) {
    return other.from_udevd && other.seqnum == event.seqnum;
  });
  const DeviceEvent& best = settled == burst.events.end() ? event : *settled;
  return {.name = event.name,
          .bus = best.bus,
          .port = best.port.empty() ? event.devpath : best.port,
          .vendor = best.vendor,
          .model = best.model,
          .serial = best.serial};
}

bool same_disk(const DeviceEvent& one, const DeviceEvent& other) {
  return one.name == other.name && one.diskseq == other.diskseq;
}

}  // namespace

std::vector<Origin> origins_of(const Sighting& seen, DeviceIndex at) {
  std::vector<Origin> from;
  for (const DeviceIndex index : seen.graph.disks_below(at)) {
    const Device& disk = seen.graph[index];
    from.push_back({.name = disk.name,
                    .bus = disk.bus,
                    .port = port_of(seen, disk),
                    .vendor = disk.vendor,
                    .model = disk.model,
                    .serial = disk.serial,
                    .wwn = disk.wwn,
                    .removable = disk.removable});
  }
  return from;
}

Finding finding_of(Happening what, const Sighting& seen, const VolumeVerdict& volume) {
  const Device& device = seen.graph[volume.device];
  return {.what = what,
          .diskseq = diskseq_of(seen.graph, volume.device),
          .volume = volume,
          .label = device.content.label,
          .uuid = device.content.uuid,
          .swap_active = device.swap_active,
          .from = origins_of(seen, volume.device)};
}

void Burst::add(DeviceEvent event) {
  if (events.size() >= most) {
    overflowed = true;
    return;
  }
  const bool change = event.action == "change";
  if (change &&
      !changed.insert(fmt::format("{}/{}/{}", event.name, event.diskseq, event.from_udevd))
           .second) {
    return;
  }
  events.push_back(std::move(event));
}

std::vector<Finding> Ledger::start(Sighting now) {
  last_ = std::move(now);
  unseen_.clear();
  std::vector<Finding> findings;
  for (const VolumeVerdict& volume : last_.coverage.volumes) {
    Finding finding = finding_of(Happening::present, last_, volume);
    finding.noticed_by = "start";
    if (needs_attention(finding)) findings.push_back(std::move(finding));
  }
  return findings;
}

std::vector<Finding> Ledger::take(Sighting now, const Burst& burst) {
  std::vector<Finding> findings;
  for (const VolumeVerdict& was : last_.coverage.volumes) {
    if (find_device(now.graph, last_.graph, was.device)) continue;
    Finding finding = finding_of(Happening::removed, last_, was);
    attribute(finding, last_.graph, burst);
    findings.push_back(std::move(finding));
  }
  std::ranges::move(vanished(now, burst), std::back_inserter(findings));
  for (const VolumeVerdict& is : now.coverage.volumes) {
    const VolumeVerdict* was = find_volume(last_, now.graph, is.device);
    Finding finding = finding_of(Happening::changed, now, is);
    if (was != nullptr) {
      finding.changes = changes_between(last_, *was, now, is);
      if (finding.changes.empty()) continue;
    } else if (!find_device(last_.graph, now.graph, is.device)) {
      finding.what = Happening::attached;
    } else if (!needs_attention(finding)) {
      // It was there as a part of something; that it now stands alone matters where it is not
      // covered.
      continue;
    }
    attribute(finding, now.graph, burst);
    findings.push_back(std::move(finding));
  }
  last_ = std::move(now);
  return findings;
}

std::vector<Finding> Ledger::vanished(const Sighting& now, const Burst& burst) {
  std::vector<Finding> findings;
  for (const DeviceEvent& event : burst.events) {
    if (!is_carrier(event)) continue;
    const auto announced = std::ranges::find_if(
        unseen_, [&](const DeviceEvent& earlier) { return same_disk(earlier, event); });
    if (event.action == "add") {
      if (announced == unseen_.end() && !is_there(now.graph, event) &&
          !is_there(last_.graph, event)) {
        unseen_.push_back(event);
      }
    } else if (event.action == "remove" && announced != unseen_.end()) {
      Finding finding{.what = Happening::vanished,
                      .noticed_by = "event",
                      .seqnum = announced->seqnum,
                      .diskseq = announced->diskseq,
                      .from = {origin_of(*announced, burst)}};
      finding.volume.name = announced->name;
      finding.volume.path = "/dev/" + announced->name;
      finding.volume.verdict = Verdict::unknown;
      finding.volume.reasons = {"it was gone before it could be looked at"};
      findings.push_back(std::move(finding));
      unseen_.erase(announced);
    }
  }
  // What has been seen by now has its finding; what never shows (a card reader without a card) may
  // wait for its removal, but not in any number.
  std::erase_if(unseen_, [&](const DeviceEvent& event) { return is_there(now.graph, event); });
  if (unseen_.size() > max_unseen) {
    unseen_.erase(unseen_.begin(), unseen_.end() - static_cast<std::ptrdiff_t>(max_unseen));
  }
  return findings;
}

}  // namespace volseal
