#include "core/base/escape.h"
#include "core/plan/plan.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace volseal {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> valid(std::vector<std::string> texts) {
  for (std::string& text : texts) text = to_valid_utf8(text);
  return texts;
}

Json json_of(const Obstacle& obstacle) {
  return {{"what", to_valid_utf8(obstacle.what)},
          {"advice", to_valid_utf8(obstacle.advice)},
          {"by_unmount", obstacle.by_unmount}};
}

Json json_of(const VolumePlan& volume) {
  Json out;
  const auto text = [&](const char* key, const std::string& value) {
    if (!value.empty()) out[key] = to_valid_utf8(value);
  };
  out["task"] = to_string(volume.task);
  text("path", volume.path);
  text("name", volume.name);
  text("mapping", volume.mapping);
  text("group", volume.group);
  text("owner", volume.owner);
  text("rule", volume.rule);
  text("why", volume.why);
  if (!volume.obstacles.empty()) {
    Json& obstacles = out["obstacles"] = Json::array();
    for (const Obstacle& obstacle : volume.obstacles) obstacles.push_back(json_of(obstacle));
  }
  out["size"] = volume.size;
  out["content"] = to_string(volume.content);
  text("content_type", volume.content_type);
  text("content_uuid", volume.content_uuid);
  text("content_label", volume.content_label);
  text("luks_uuid", volume.luks_uuid);
  if (volume.diskseq != 0) out["diskseq"] = volume.diskseq;
  if (!volume.cipher.empty()) {
    text("cipher", volume.cipher);
    out["key_bits"] = volume.key_bits;
    out["sector_size"] = volume.sector_size;
    text("crypttab_options", volume.crypttab_options);
    out["recovery"] = volume.recovery;
  }
  if (volume.task == Task::encrypt_in_place) {
    out["room"] = to_string(volume.room);
    out["used_only"] = volume.used_only;
  }
  text("filesystem", volume.filesystem);
  text("mount", volume.mount);
  if (!volume.mounts.empty()) out["mounts"] = valid(volume.mounts);
  if (volume.swap_active) out["swap_active"] = true;
  out["bytes"] = volume.bytes;
  out["estimate_seconds"] = volume.estimate.count();
  if (volume.task == Task::encrypt_in_place) out["online"] = volume.online;
  if (volume.online) out["out_of_use_seconds"] = volume.out_of_use.count();
  text("risk", volume.risk);
  if (!volume.steps.empty()) out["steps"] = valid(volume.steps);
  return out;
}

}  // namespace

std::string to_json(const Plan& plan, int indent) {
  Json out;
  out["schema"] = "volseal-plan/1";
  out["host"] = to_valid_utf8(plan.host);
  out["made_at"] = to_valid_utf8(plan.made_at);
  out["policy"] = to_valid_utf8(plan.policy);
  out["policy_digest"] = plan.policy_digest;
  out["has_work"] = plan.has_work();
  out["has_obstacles"] = plan.has_obstacles();
  Json& volumes = out["volumes"] = Json::array();
  for (const VolumePlan& volume : plan.volumes) volumes.push_back(json_of(volume));
  // ASCII only: labels come from devices, and this may end on a terminal.
  return out.dump(indent, ' ', true);
}

}  // namespace volseal
