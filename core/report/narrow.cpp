// A part of a report, that says it is one.
#include "core/report/report.h"

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

// What the volumes among `wanted` stand on, and what is opened from them.
class PartOfDevices {
 public:
  PartOfDevices(const std::vector<ReportDevice>& devices, const std::vector<bool>& wanted)
      : devices_(devices), kept_(devices.size()), upper_(devices.size()), others_(devices.size()) {
    for (std::size_t at = 0; at < devices.size(); ++at) {
      const auto& volume = devices[at].volume;
      if (!volume) continue;
      if (wanted.at(*volume)) {
        upper_[at] = true;
        mark_below(at, kept_);
      } else {
        mark_below(at, others_);
      }
    }
    keep_upper();
  }

  const std::vector<bool>& kept() const { return kept_; }

  std::vector<std::string> shared() const {
    std::vector<std::string> paths;
    for (std::size_t at = 0; at < devices_.size(); ++at) {
      if (kept_[at] && others_[at] && devices_[at].below.empty())
        paths.push_back(devices_[at].path);
    }
    return paths;
  }

 private:
  void mark_below(std::size_t at, std::vector<bool>& marks) const {
    if (marks[at]) return;
    marks[at] = true;
    for (const std::size_t lower : devices_[at].below) mark_below(lower, marks);
  }

  // A mapping may come before what it is made of.
  void keep_upper() {
    for (bool more = true; more;) {
      more = false;
      for (std::size_t at = 0; at < devices_.size(); ++at) {
        const auto& below = devices_[at].below;
        if (upper_[at] || devices_[at].volume ||
            std::ranges::none_of(below, [&](std::size_t lower) { return upper_[lower]; }))
          continue;
        upper_[at] = true;
        mark_below(at, kept_);
        more = true;
      }
    }
  }

  const std::vector<ReportDevice>& devices_;
  std::vector<bool> kept_;
  std::vector<bool> upper_;
  std::vector<bool> others_;
};

template <typename T>
void keep_only(std::vector<T>& list, const std::vector<bool>& kept) {
  std::size_t next = 0;
  for (std::size_t at = 0; at < list.size(); ++at) {
    if (!kept[at]) continue;
    if (next != at) list[next] = std::move(list[at]);
    ++next;
  }
  list.resize(next);
}

std::vector<std::size_t> new_places(const std::vector<bool>& kept) {
  std::vector<std::size_t> places(kept.size());
  for (std::size_t at = 0, next = 0; at < kept.size(); ++at) {
    places[at] = next;
    if (kept[at]) ++next;
  }
  return places;
}

void narrow_devices(Report& report, const std::vector<bool>& wanted) {
  const PartOfDevices part(report.devices, wanted);
  report.coverage.shared_disks = part.shared();
  const std::vector<bool>& kept = part.kept();
  std::vector<bool> kept_disks;
  for (const ByteShare& disk : report.coverage.disks) {
    const auto device = std::ranges::find(report.devices, disk.name, &ReportDevice::path);
    const bool ours = device != report.devices.end() &&
                      kept[static_cast<std::size_t>(device - report.devices.begin())];
    const auto& shared = report.coverage.shared_disks;
    kept_disks.push_back(ours && std::ranges::find(shared, disk.name) == shared.end());
  }
  keep_only(report.coverage.disks, kept_disks);
  const std::vector<std::size_t> volumes = new_places(wanted);
  const std::vector<std::size_t> devices = new_places(kept);
  keep_only(report.devices, kept);
  for (ReportDevice& device : report.devices) {
    for (std::size_t& lower : device.below) lower = devices[lower];
    if (!device.volume) continue;
    device.volume = wanted[*device.volume] ? std::optional(volumes[*device.volume]) : std::nullopt;
  }
  // Gaps, files and the like are no devices of the report, and number on behind them.
  for (VolumeVerdict& volume : report.coverage.volumes)
    volume.device = volume.device < devices.size() ? devices[volume.device] : report.devices.size();
}

}  // namespace

Report narrowed(Report report, const Filter& filter) {
  Coverage& coverage = report.coverage;
  std::vector<bool> wanted;
  wanted.reserve(coverage.volumes.size());
  for (const VolumeVerdict& volume : coverage.volumes) wanted.push_back(filter.wants(volume));
  coverage.filter = filter;
  narrow_devices(report, wanted);
  keep_only(coverage.volumes, wanted);
  keep_only(report.ids, wanted);
  coverage.bytes = {};
  for (const VolumeVerdict& volume : coverage.volumes) coverage.bytes += volume.bytes;
  count_tenants(coverage);
  Controls controls;
  for (ControlResult& result : report.controls)
    controls.controls.push_back(std::move(result.control));
  report.controls = apply_controls(controls, coverage);
  report.comparison.reset();
  return report;
}

}  // namespace volseal
