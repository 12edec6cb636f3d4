#include "core/policy/conditions.h"

#include "core/base/clock.h"

#include <fmt/format.h>

#include <utility>

namespace volseal {

Match read_match(const Section& section) {
  section.only({"path", "mount", "filesystem", "label", "partition_type", "bus", "removable",
                "rotational", "vg", "lv", "md_level", "smaller_than", "larger_than"});
  Match match;
  const auto glob = [&](std::string_view key) {
    auto value = section.text(key);
    if (value && value->empty()) section.refuse(key, "is empty");
    return value;
  };
  match.path = glob("path");
  match.mount = glob("mount");
  for (const auto& [key, value] :
       {std::pair{"path", &match.path}, std::pair{"mount", &match.mount}}) {
    if (*value && !(*value)->starts_with('/') && !(*value)->starts_with('*')) {
      section.refuse(key, "must begin with '/' or '*', else it matches nothing");
    }
  }
  match.filesystem = glob("filesystem");
  match.label = glob("label");
  match.partition_type = glob("partition_type");
  match.bus = glob("bus");
  match.removable = section.truth("removable");
  match.rotational = section.truth("rotational");
  match.vg = glob("vg");
  match.lv = glob("lv");
  match.md_level = glob("md_level");
  match.smaller_than = section.size("smaller_than");
  match.larger_than = section.size("larger_than");
  return match;
}

bool matches_everything(const Match& match) {
  return !match.path && !match.mount && !match.filesystem && !match.label &&
         !match.partition_type && !match.bus && !match.removable && !match.rotational &&
         !match.vg && !match.lv && !match.md_level && !match.smaller_than && !match.larger_than;
}

std::string read_until(const Section& section) {
  const toml::node* node = section.raw().get("until");
  if (node == nullptr) return "";
  if (const auto* date = node->as_date()) {
    return fmt::format("{:04}-{:02}-{:02}", date->get().year, date->get().month, date->get().day);
  }
  std::string text = section.text("until").value_or("");
  if (text.size() != sizeof("YYYY-MM-DD") - 1 || !parse_day(text))
    section.refuse("until", "must be a date of the calendar, \"YYYY-MM-DD\"");
  return text;
}

}  // namespace volseal
