#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/paragraph.h"
#include "core/decrypt/plan.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> valid(std::vector<std::string> texts) {
  for (std::string& text : texts) text = to_valid_utf8(text);
  return texts;
}

}  // namespace

std::string to_text(const DecryptionPlan& plan, std::size_t columns) {
  if (!plan.obstacles.empty()) {
    std::string out =
        wrapped("", fmt::format("{}: CANNOT be decrypted", escaped(plan.path)), columns);
    for (const Obstacle& obstacle : plan.obstacles) {
      out += wrapped("  - ", obstacle.what, columns);
      out += wrapped("    > ", obstacle.advice, columns);
    }
    return out;
  }
  std::string inside = plan.open_as.empty() ? "closed" : escaped(plan.content_type, 40);
  if (inside.empty()) inside = "content unknown";
  if (!plan.content_label.empty()) inside += fmt::format(" \"{}\"", escaped(plan.content_label));
  std::string out = wrapped("", fmt::format("{}: decrypt in place", escaped(plan.path)), columns);
  out += wrapped("  ", fmt::format("{}, {}; {}", human_size(plan.size), inside, plan.why), columns);
  int number = 0;
  for (const std::string& step : plan.steps) {
    out += wrapped(fmt::format("  {:>2}. ", ++number), step, columns);
  }
  for (const std::string& line : plan.for_ever) out += wrapped("  For ever: ", line, columns);
  out += wrapped("  Risk: ", plan.risk, columns);
  out += wrapped("  Time: ",
                 fmt::format("about {} for {} to read and write", human_duration(plan.estimate),
                             human_size(plan.bytes)),
                 columns);
  return out;
}

std::string to_json(const DecryptionPlan& plan, int indent) {
  Json obstacles = Json::array();
  for (const Obstacle& obstacle : plan.obstacles) {
    obstacles.push_back({{"what", to_valid_utf8(obstacle.what)},
                         {"advice", to_valid_utf8(obstacle.advice)},
                         {"by_unmount", obstacle.by_unmount}});
  }
  const Json out = {{"schema", "volseal-decrypt-plan/1"},
                    {"path", to_valid_utf8(plan.path)},
                    {"name", to_valid_utf8(plan.name)},
                    {"luks_uuid", to_valid_utf8(plan.luks_uuid)},
                    {"size", plan.size},
                    {"data_offset", plan.data_offset},
                    {"mapping", to_valid_utf8(plan.open_as)},
                    {"content_type", to_valid_utf8(plan.content_type)},
                    {"content_uuid", to_valid_utf8(plan.content_uuid)},
                    {"mounts", valid(plan.mounts)},
                    {"swap_active", plan.swap_active},
                    {"rule", to_valid_utf8(plan.rule)},
                    {"why", to_valid_utf8(plan.why)},
                    {"despite_policy", to_valid_utf8(plan.reason)},
                    {"obstacles", std::move(obstacles)},
                    {"steps", valid(plan.steps)},
                    {"not_undone", valid(plan.for_ever)},
                    {"risk", plan.risk},
                    {"bytes", plan.bytes},
                    {"estimate_seconds", plan.estimate.count()}};
  return out.dump(indent, ' ', true);
}

}  // namespace volseal
