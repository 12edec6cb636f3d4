#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/paragraph.h"
#include "core/erase/certificate.h"
#include "core/erase/plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace volseal {

namespace {

std::string volume_text(const ErasedVolume& volume, std::size_t columns) {
  std::string out = wrapped(
      "",
      fmt::format("{}: destroy its keys; nothing on it can be read any more", escaped(volume.path)),
      columns);
  out += wrapped(
      "  ",
      fmt::format("{}, LUKS{} {}{}", human_size(volume.size), volume.version,
                  escaped(volume.luks_uuid),
                  volume.label.empty() ? "" : fmt::format(" \"{}\"", escaped(volume.label))),
      columns);
  for (const ErasedDisk& disk : volume.disks) {
    if (disk.path == volume.path && disk.model.empty() && disk.serial.empty()) continue;
    out += wrapped("  ",
                   fmt::format("on {} {} {} {}", escaped(disk.path), escaped(disk.vendor),
                               escaped(disk.model), escaped(disk.serial)),
                   columns);
  }
  for (const std::string& way : volume.ways) out += wrapped("  - ", escaped(way), columns);
  for (const ErasedArea& area : volume.areas) {
    out += wrapped(
        "  - ",
        fmt::format(
            "{}: {} at byte {}{}", area.what, human_size(area.bytes), area.offset,
            volume.header == volume.path ? "" : fmt::format(" of {}", escaped(volume.header))),
        columns);
  }
  for (const std::string& name : volume.mappings)
    out += wrapped("  - ", fmt::format("its lines in crypttab and fstab ({})", escaped(name)),
                   columns);
  return out;
}

}  // namespace

std::string to_text(const Leftover& left, std::size_t columns) {
  std::string out = wrapped(
      "  - ",
      fmt::format(
          "{}: {}{}", left.what, escaped(left.where, 4096),
          left.holders.empty() ? "" : fmt::format(" (held by {})", escaped(left.holders, 4096))),
      columns);
  if (!left.remove.empty()) out += wrapped("    > ", left.remove, columns);
  return out;
}

std::string to_text(const ErasurePlan& plan, std::size_t columns) {
  std::string out;
  if (!plan.obstacles.empty()) {
    out = wrapped("", fmt::format("{}: CANNOT be erased", escaped(plan.target)), columns);
    for (const Obstacle& obstacle : plan.obstacles) {
      out += wrapped("  - ", obstacle.what, columns);
      out += wrapped("    > ", obstacle.advice, columns);
    }
    return out;
  }
  for (const ErasedVolume& volume : plan.volumes) out += volume_text(volume, columns);
  if (!plan.group.empty()) {
    out += wrapped(
        "",
        fmt::format("group {}: destroy its secret in the TPM and its files", escaped(plan.group)),
        columns);
  }
  const bool any = std::ranges::any_of(
      plan.volumes, [](const ErasedVolume& volume) { return !volume.left.empty(); });
  if (any) out += "What will still exist, and opens it together with one of the old keys:\n";
  for (const ErasedVolume& volume : plan.volumes) {
    for (const Leftover& left : volume.left) out += to_text(left, columns);
  }
  return out;
}

}  // namespace volseal
