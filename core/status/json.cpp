#include "core/coverage/json.h"

#include "core/base/escape.h"
#include "core/status/status.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace volseal {

namespace {

using StatusJson = nlohmann::ordered_json;

StatusJson texts_of(const std::vector<std::string>& list) {
  StatusJson json = StatusJson::array();
  for (const std::string& text : list) json.push_back(to_valid_utf8(text));
  return json;
}

StatusJson groups_of_status(const std::vector<StatusGroup>& groups) {
  StatusJson list = StatusJson::array();
  for (const StatusGroup& group : groups) {
    list.push_back({{"group", to_valid_utf8(group.name)},
                    {"tenant", to_valid_utf8(group.tenant)},
                    {"environment", to_valid_utf8(group.environment)},
                    {"operators", group.operators},
                    {"volumes", group.volumes},
                    {"tpm", to_string(group.tpm)},
                    {"counter", group.counter ? StatusJson(*group.counter) : StatusJson()},
                    {"approvals", group.approvals},
                    {"locked", group.locked.empty() ? StatusJson() : StatusJson(group.locked)}});
  }
  return list;
}

StatusJson volumes_of_status(const Coverage& coverage) {
  StatusJson list = StatusJson::array();
  for (const VolumeVerdict& volume : coverage.volumes) {
    list.push_back({{"path", to_valid_utf8(volume.path)},
                    {"verdict", to_string(volume.verdict)},
                    {"group", to_valid_utf8(volume.policy_group)},
                    {"tenant", to_valid_utf8(volume.tenant)},
                    {"environment", to_valid_utf8(volume.environment)},
                    {"opened", to_valid_utf8(volume.opened)},
                    {"protectors", texts_of(volume.protectors)}});
  }
  return list;
}

StatusJson log_of_status(const std::optional<StatusLog>& log) {
  if (!log) return {};
  return {{"there", log->there},
          {"lines", log->lines},
          {"signed_lines", log->signed_lines},
          {"signed_at", log->signed_at},
          {"lost", log->lost}};
}

}  // namespace

std::string to_json(const Status& status, std::string_view now) {
  StatusJson attention = StatusJson::array();
  for (const Attention& one : attention_of(status, now))
    attention.push_back({{"what", one.what}, {"command", one.command}});
  StatusJson json = {{"schema", "volseal-status/1"},
                     {"host", to_valid_utf8(status.coverage.host)},
                     {"made_at", std::string(now)},
                     {"root", status.root},
                     {"attention", std::move(attention)},
                     {"exit_status_of_check", status.coverage.exit_status()},
                     {"groups", groups_of_status(status.groups)},
                     {"volumes", volumes_of_status(status.coverage)},
                     {"in_two_groups", texts_of(status.in_two_groups)},
                     {"last_unlock", nullptr},
                     {"watched", status.watched ? StatusJson(*status.watched) : StatusJson()},
                     {"quarantined", texts_of(status.quarantined)},
                     {"findings_of_a_day", status.findings},
                     {"log", log_of_status(status.log)},
                     {"next_boot", nullptr},
                     {"problems", texts_of(status.problems)}};
  if (const auto& last = status.last_unlock) {
    json["last_unlock"] = {{"time", last->time},
                           {"volume", to_valid_utf8(last->volume)},
                           {"group", to_valid_utf8(last->group)},
                           {"protector", to_valid_utf8(last->protector)},
                           {"milliseconds", to_valid_utf8(last->milliseconds)}};
  }
  if (const auto& next = status.next_boot) {
    json["next_boot"] = {{"verified_at", next->verified_at},
                         {"good", next->good},
                         {"outdated", next->outdated},
                         {"problem", to_valid_utf8(next->problem)}};
  }
  json["drills"] = StatusJson::parse(to_json(status.drills)).at("drills");
  return json.dump(1, ' ', true) + "\n";
}

}  // namespace volseal
