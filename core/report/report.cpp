#include "core/report/report.h"

#include <algorithm>
#include <map>
#include <utility>

namespace volseal {

namespace {

// What stays with the place while its content changes. Whoever made the device chose these texts,
// so they are names and no proof; two of the same name are told apart by their order.
std::string id_of(const Device& device, const VolumeVerdict& volume) {
  if (!device.partition_uuid.empty()) return "partuuid:" + device.partition_uuid;
  if (!device.dm_uuid.empty()) return "dm:" + device.dm_uuid;
  if (!device.wwn.empty()) return "wwn:" + device.wwn;
  if (!device.serial.empty()) {
    return "serial:" + (device.model.empty() ? "" : device.model + "_") + device.serial;
  }
  if (device.kind == DeviceKind::md && !device.links.empty()) {
    const auto by_id = std::ranges::find_if(device.links, [](const std::string& link) {
      return link.starts_with("/dev/disk/by-id/md-uuid-");
    });
    if (by_id != device.links.end()) return "md:" + by_id->substr(sizeof("/dev/disk/by-id/") - 1);
  }
  return "path:" + volume.path;
}

std::vector<std::string> ids_of(const DeviceGraph& graph, const Coverage& coverage) {
  std::vector<std::string> ids;
  std::map<std::string, int> seen;
  for (const VolumeVerdict& volume : coverage.volumes) {
    std::string id = volume.device < graph.devices.size() ? id_of(graph[volume.device], volume)
                                                          : "path:" + volume.path;
    if (const int before = seen[id]++; before > 0) id += "#" + std::to_string(before + 1);
    ids.push_back(std::move(id));
  }
  return ids;
}

std::vector<ReportDevice> devices_of(const DeviceGraph& graph, const Coverage& coverage) {
  std::vector<ReportDevice> devices;
  devices.reserve(graph.devices.size());
  for (const Device& device : graph.devices) {
    const Content& content = device.content;
    devices.push_back(
        {.path = device.path,
         .name = device.name,
         .kind = std::string(to_string(device.kind)),
         .content = content.type.empty() ? std::string(to_string(content.kind)) : content.type,
         .label = content.label,
         .uuid = content.uuid,
         .model = device.model,
         .serial = device.serial,
         .size = device.size,
         .mounts = device.mounts,
         .below = device.below,
         .volume = {}});
  }
  for (std::size_t at = 0; at < coverage.volumes.size(); ++at) {
    const DeviceIndex device = coverage.volumes[at].device;
    if (device < devices.size()) devices[device].volume = at;
  }
  return devices;
}

}  // namespace

Report make_report(const DeviceGraph& graph, const Policy& policy, Coverage coverage,
                   const Controls& controls, const ReportContext& context) {
  Report report{.coverage = std::move(coverage),
                .version = context.version,
                .made_at = context.made_at,
                .kernel = graph.kernel,
                .boot_id = graph.boot_id,
                .policy_digest = policy.digest,
                .root = graph.root};
  report.ids = ids_of(graph, report.coverage);
  report.devices = devices_of(graph, report.coverage);
  report.controls = apply_controls(controls, report.coverage);
  return context.filter.is_all() ? report : narrowed(std::move(report), context.filter);
}

}  // namespace volseal
