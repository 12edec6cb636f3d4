#include "core/watch/learn.h"

#include "core/base/escape.h"
#include "core/watch/ruling.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace volseal {

namespace {

// TOML's basic string.
std::string toml_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
}

// What stays when it is plugged in elsewhere, or at least is where it is plugged in.
std::string lasting_name(const Device& disk) {
  for (const std::string_view folder : {"/dev/disk/by-id/", "/dev/disk/by-path/"}) {
    for (const std::string& link : disk.links) {
      if (link.starts_with(folder) && is_plain(link)) return link;
    }
  }
  return "";
}

}  // namespace

std::string as_glob(std::string_view text) {
  std::string glob;
  for (const char c : text) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') glob += '\\';
    glob += c;
  }
  return glob;
}

std::string learned_rules(const Sighting& seen, const Policy& policy, std::string_view today,
                          std::string_view until) {
  Policy strict = policy;
  strict.watch.otherwise = Response::quarantine;
  std::set<DeviceIndex> disks;
  for (const VolumeVerdict& volume : seen.coverage.volumes) {
    const Ruling decision = decide(strict, seen.graph, volume, today);
    if (decision.response != Response::quarantine || !decision.rule.empty()) continue;
    for (const DeviceIndex disk : seen.graph.disks_below(volume.device)) disks.insert(disk);
  }
  std::string text = fmt::format(
      "# Learned on {}: what was attached then and is not encrypted. Strike out what should not "
      "be.\n[watch]\notherwise = \"quarantine\"\n",
      today);
  std::size_t number = policy.watch.rules.size();
  for (const DeviceIndex at : disks) {
    const Device& disk = seen.graph[at];
    const std::string name = lasting_name(disk);
    const std::string about = escaped(fmt::format("{} {} {}", disk.path, disk.vendor, disk.model));
    if (name.empty()) {
      text += fmt::format("\n# {}: nothing tells it from others; write a rule by hand\n", about);
      continue;
    }
    text += fmt::format(
        "\n# {}\n[[watch.rule]]\nname = \"learned-{}\"\nmatch = {{ path = {} }}\naction = "
        "\"allow\"\nreason = \"attached when the watch learned, on {}\"\nuntil = \"{}\"\n",
        about, ++number, toml_text(as_glob(name)), today, until);
  }
  return text;
}

}  // namespace volseal
