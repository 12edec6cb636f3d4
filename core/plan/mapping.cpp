#include "core/plan/mapping.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace volseal {
namespace {

constexpr std::size_t longest = 60;  // with a suffix still far below device-mapper's 127

// Letters, digits, '_' and single '-': a name that needs no quoting anywhere.
std::string plain_name(std::string_view text) {
  std::string name;
  for (const char c : text) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (plain) {
      name += c;
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
    if (name.size() == longest) break;
  }
  while (name.ends_with('-')) name.pop_back();
  return name;
}

std::string_view without_quotes(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    return text.substr(1, text.size() - 2);
  }
  return text;
}

// "/srv/data" → "srv-data". The shortest, where there are several; the root is no name.
std::string name_of_mount(const DeviceGraph& graph, DeviceIndex at) {
  std::vector<std::string> points = mount_points(graph, at);
  std::ranges::sort(points, {}, [](const std::string& point) {
    return std::pair(point.size(), std::string_view(point));
  });
  for (const std::string& point : points) {
    if (std::string name = plain_name(point); !name.empty()) return name;
  }
  return "";
}

// Under which it is open now, "" where it is not.
std::string open_name(const DeviceGraph& graph, DeviceIndex at) {
  if (!graph[at].luks) return "";
  const std::vector<DeviceIndex> above = graph.above(at);
  return above.size() == 1 ? graph[above.front()].dm_name : "";
}

std::string name_of_device(const Device& device) {
  if (!device.dm_name.empty()) return plain_name(device.dm_name);
  const std::size_t slash = device.name.rfind('/');
  const std::string name =
      plain_name(slash == std::string::npos ? device.name : device.name.substr(slash + 1));
  return name.empty() ? "volume" : name;
}

}  // namespace

bool names_volume(const CrypttabEntry& entry, const Device& device) {
  const std::string_view source = entry.source;
  const auto tagged = [&](std::string_view tag, const std::string& value) {
    return !value.empty() && source.starts_with(tag) &&
           without_quotes(source.substr(tag.size())) == value;
  };
  return source == device.path || source == "/dev/" + device.name ||
         std::ranges::find(device.links, source) != device.links.end() ||
         (device.luks && tagged("UUID=", device.luks->uuid)) ||
         tagged("PARTUUID=", device.partition_uuid) || tagged("PARTLABEL=", device.partition_label);
}

MappingNames::MappingNames(const DeviceGraph& graph) : taken_{"control"} {
  for (const Device& device : graph.devices) {
    if (!device.dm_name.empty()) taken_.insert(device.dm_name);
  }
  for (const CrypttabEntry& entry : graph.crypttab) taken_.insert(entry.name);
}

std::string MappingNames::choose(const DeviceGraph& graph, DeviceIndex at, const Rule* rule) {
  const Device& device = graph[at];
  const auto entry = std::ranges::find_if(
      graph.crypttab, [&](const CrypttabEntry& line) { return names_volume(line, device); });
  if (entry != graph.crypttab.end() && entry->name.find('/') == std::string::npos) {
    return entry->name;
  }
  if (std::string open = open_name(graph, at); !open.empty()) return open;

  std::string name;
  if (rule != nullptr) name = rule->mapping.value_or(plain_name(rule->mount.value_or("")));
  if (name.empty()) name = plain_name(device.content.label);
  if (name.empty()) name = name_of_mount(graph, at);
  if (name.empty() && device.content.kind == ContentKind::swap) name = "swap";
  // A bare device's name under /dev/mapper would be taken for that device.
  if (name.empty()) name = name_of_device(device) + "-crypt";
  if (taken_.insert(name).second) return name;
  if (!name.ends_with("-crypt")) name += "-crypt";
  if (taken_.insert(name).second) return name;
  for (int number = 2;; ++number) {
    std::string numbered = name + "-" + std::to_string(number);
    if (taken_.insert(numbered).second) return numbered;
  }
}

}  // namespace volseal
