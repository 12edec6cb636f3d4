#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/plan/plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace volseal {
namespace {

std::string content_changed(const VolumePlan& planned, const Device& device) {
  const Content& content = device.content;
  if (content.kind != planned.content || content.type != planned.content_type) {
    const auto shown = [](ContentKind kind, const std::string& type) {
      return type.empty() ? std::string(to_string(kind)) : escaped(type, 40);
    };
    return fmt::format("it holds {} now, and held {} when the plan was made",
                       shown(content.kind, content.type),
                       shown(planned.content, planned.content_type));
  }
  if (content.uuid != planned.content_uuid || content.label != planned.content_label) {
    return "it holds another file system now than when the plan was made";
  }
  if ((device.luks ? device.luks->uuid : "") != planned.luks_uuid) {
    return "it has another LUKS header now than when the plan was made";
  }
  return "";
}

std::string use_changed(const VolumePlan& planned, const DeviceGraph& now, DeviceIndex at) {
  const Device& device = now[at];
  for (const std::string& mount : device.mounts) {
    if (std::ranges::find(planned.mounts, mount) == planned.mounts.end()) {
      return fmt::format("it is mounted at {} now", escaped(mount));
    }
  }
  if (device.swap_active && !planned.swap_active) return "it is active swap now";
  if (device.read_only) return "it is read-only now";
  // A LUKS volume that goes on may be open; anything else that is stacked on is in use.
  const std::vector<DeviceIndex> above = now.above(at);
  if (!device.luks && !above.empty()) {
    return fmt::format("{} stands on it now", escaped(now[above.front()].path));
  }
  return "";
}

}  // namespace

std::string what_changed(const VolumePlan& planned, const DeviceGraph& now) {
  const auto at = now.find(planned.path);
  if (!at) return "it is not there any more";
  const Device& device = now[*at];
  if (device.name != planned.name) {
    return fmt::format("its name stands for {} now, and stood for {} when the plan was made",
                       escaped(device.name), escaped(planned.name));
  }
  if (device.diskseq != planned.diskseq) return "another disk has come in its place";
  if (device.size != planned.size) {
    return fmt::format("it has {} now, and had {} when the plan was made", human_size(device.size),
                       human_size(planned.size));
  }
  if (std::string changed = content_changed(planned, device); !changed.empty()) return changed;
  return use_changed(planned, now, *at);
}

}  // namespace volseal
