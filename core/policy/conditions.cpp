#include "core/policy/conditions.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

namespace volseal {

namespace {

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const auto digits = [](std::string_view part) {
    return std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
  };
  if (!digits(text.substr(0, 4)) || !digits(text.substr(5, 2)) || !digits(text.substr(8, 2))) {
    return false;
  }
  const std::chrono::year_month_day date{
      std::chrono::year(number(text.substr(0, 4)).value_or(0)),
      std::chrono::month(static_cast<unsigned>(number(text.substr(5, 2)).value_or(0))),
      std::chrono::day(static_cast<unsigned>(number(text.substr(8, 2)).value_or(0)))};
  return date.ok();
}

}  // namespace

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
  if (!is_date(text)) section.refuse("until", "must be a date of the calendar, \"YYYY-MM-DD\"");
  return text;
}

}  // namespace volseal
