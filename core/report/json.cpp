#include "core/coverage/json.h"

#include "core/base/escape.h"
#include "core/report/report.h"

#include <algorithm>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

Json valid_texts(const std::vector<std::string>& list) {
  Json json = Json::array();
  for (const std::string& text : list) json.push_back(to_valid_utf8(text));
  return json;
}

Json json_of(const ReportDevice& device) {
  return {{"path", to_valid_utf8(device.path)},
          {"name", to_valid_utf8(device.name)},
          {"kind", device.kind},
          {"content", to_valid_utf8(device.content)},
          {"label", to_valid_utf8(device.label)},
          {"uuid", to_valid_utf8(device.uuid)},
          {"model", to_valid_utf8(device.model)},
          {"serial", to_valid_utf8(device.serial)},
          {"size", device.size},
          {"mounts", valid_texts(device.mounts)},
          {"below", device.below}};
}

Json json_of(const ControlResult& result, const std::vector<std::string>& ids) {
  const auto named = [&](const std::vector<std::size_t>& volumes) {
    Json list = Json::array();
    for (const std::size_t at : volumes) list.push_back(to_valid_utf8(ids[at]));
    return list;
  };
  Json facts = Json::array();
  for (const Fact fact : result.control.facts) facts.push_back(to_string(fact));
  return {{"id", result.control.id},
          {"catalogue", result.control.catalogue},
          {"reference", result.control.reference},
          {"title", result.control.title},
          {"note", result.control.note},
          {"facts", std::move(facts)},
          {"sufficient", result.control.sufficient},
          {"support", to_string(result.support)},
          {"supporting", named(result.supporting)},
          {"contradicting", named(result.contradicting)}};
}

Json json_of(const Comparison& comparison) {
  Json changes = Json::array();
  for (const Change& change : comparison.changes) {
    changes.push_back({{"course", to_string(change.course)},
                       {"id", to_valid_utf8(change.id)},
                       {"path", to_valid_utf8(change.path)},
                       {"what", to_valid_utf8(change.what)}});
  }
  return {{"taken_at", to_valid_utf8(comparison.since)},
          {"worse", comparison.worse()},
          {"changes", std::move(changes)}};
}

// The controls that each volume is evidence for, and against.
void add_controls(Json& volumes, const std::vector<ControlResult>& controls) {
  for (Json& volume : volumes) {
    volume["controls"] = Json::array();
    volume["controls_against"] = Json::array();
  }
  for (const ControlResult& result : controls) {
    for (const std::size_t at : result.supporting)
      volumes[at]["controls"].push_back(result.control.id);
    for (const std::size_t at : result.contradicting)
      volumes[at]["controls_against"].push_back(result.control.id);
  }
}

}  // namespace

std::string report_json(const Report& report) {
  Json json = json_of(report.coverage);
  Json& volumes = json["volumes"];
  for (std::size_t at = 0; at < report.ids.size(); ++at)
    volumes[at]["id"] = to_valid_utf8(report.ids[at]);
  add_controls(volumes, report.controls);
  json["made_by"] = "volseal " + report.version;
  json["made_at"] = report.made_at;
  json["kernel"] = to_valid_utf8(report.kernel);
  json["boot_id"] = to_valid_utf8(report.boot_id);
  json["policy_digest"] = report.policy_digest;
  json["root"] = report.root;
  json["devices"] = Json::array();
  for (const ReportDevice& device : report.devices) json["devices"].push_back(json_of(device));
  json["controls"] = Json::array();
  for (const ControlResult& result : report.controls)
    json["controls"].push_back(json_of(result, report.ids));
  json["since"] = report.comparison ? json_of(*report.comparison) : Json();
  // ASCII only, so that no label can play with the terminal of who reads it.
  return json.dump(1, ' ', true) + "\n";
}

}  // namespace volseal
