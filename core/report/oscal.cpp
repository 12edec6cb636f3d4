// OSCAL 1.1.2, assessment results: a volume is an inventory item and an observation, a control is a
// finding. Lists are absent where they would be empty, as the schema has it.
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/report/markup.h"
#include "core/report/report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace volseal {

namespace {

using OscalJson = nlohmann::ordered_json;

// OSCAL's strings neither begin nor end with white space and are not empty.
std::string oscal_string(std::string_view text, std::string_view otherwise = "-") {
  const std::string line = on_one_line(text);
  const auto first = line.find_first_not_of(' ');
  if (first == std::string::npos) return std::string(otherwise);
  return line.substr(first, line.find_last_not_of(' ') - first + 1);
}

class Oscal {
 public:
  explicit Oscal(const Report& report)
      : report_(report),
        volumes_(report.coverage.volumes),
        time_(report::is_time(report.coverage.taken_at) ? report.coverage.taken_at
                                                        : report.made_at) {}

  OscalJson document() const {
    const std::string plan = uuid("assessment-plan");
    return {{"assessment-results",
             {{"uuid", uuid("document " + report_.made_at)},
              {"metadata",
               {{"title", oscal_string("Encryption of data at rest on " +
                                       report::plain(report_.coverage.host))},
                {"last-modified", report_.made_at},
                {"version", report_.made_at},
                {"oscal-version", "1.1.2"}}},
              {"import-ap", {{"href", "#" + plan}}},
              {"results", OscalJson::array({result()})},
              {"back-matter", {{"resources", OscalJson::array({policy_as_plan(plan)})}}}}}};
  }

 private:
  // The same thing of the same host has the same UUID in every report.
  std::string uuid(const std::string& what) const {
    return report::uuid_of(report_.coverage.host + '\0' + what);
  }
  std::string item_uuid(std::size_t at) const { return uuid("volume " + report_.ids[at]); }
  std::string observation_uuid(std::size_t at) const {
    return uuid("observation " + time_ + ' ' + report_.ids[at]);
  }

  // There is no assessment plan but the policy that the volumes were judged by.
  OscalJson policy_as_plan(const std::string& plan) const {
    return {{"uuid", plan},
            {"title", "Encryption policy"},
            {"description",
             oscal_string(fmt::format("{}, SHA-256 {}", report::plain(report_.coverage.policy),
                                      report_.policy_digest))}};
  }

  OscalJson result() const {
    const Filter& filter = report_.coverage.filter;
    const std::string only =
        filter.is_all() ? "" : fmt::format(" Only {}; the machine has more.", filter_words(filter));
    OscalJson json = {
        {"uuid", uuid("result " + time_ + only)},
        {"title", only.empty() ? "Coverage of volumes" : "Coverage of a part of the volumes"},
        {"description",
         oscal_string(fmt::format("Verdicts of volseal {} on every volume, by device-mapper tables "
                                  "and LUKS headers on every path down to every disk.{}",
                                  report_.version, only))},
        {"start", time_}};
    if (!volumes_.empty()) json["local-definitions"] = {{"inventory-items", inventory()}};
    json["reviewed-controls"] = {{"control-selections", OscalJson::array({selection()})}};
    if (!volumes_.empty()) json["observations"] = observations();
    if (OscalJson list = findings(); !list.empty()) json["findings"] = std::move(list);
    return json;
  }

  OscalJson selection() const {
    OscalJson ids = OscalJson::array();
    for (const ControlResult& result : report_.controls)
      ids.push_back({{"control-id", result.control.id}});
    if (ids.empty()) return {{"description", "No control is in the table."}};
    return {{"include-controls", std::move(ids)}};
  }

  static void add_prop(OscalJson& props, std::string_view name, const std::string& value) {
    if (value.empty()) return;
    props.push_back(
        {{"name", name}, {"ns", "urn:volseal:coverage"}, {"value", oscal_string(value)}});
  }

  OscalJson inventory() const {
    OscalJson items = OscalJson::array();
    for (std::size_t at = 0; at < volumes_.size(); ++at) {
      const VolumeVerdict& volume = volumes_[at];
      OscalJson props = OscalJson::array();
      add_prop(props, "path", report::plain(volume.path));
      add_prop(props, "id", report::plain(report_.ids[at]));
      add_prop(props, "size-bytes", std::to_string(volume.size));
      add_prop(props, "content", volume.content);
      add_prop(props, "mounts", report::joined(volume.mounts, " "));
      add_prop(props, "luks-uuid", report::plain(volume.luks_uuid));
      add_prop(props, "cipher", report::plain(volume.cipher));
      if (volume.key_bits != 0) add_prop(props, "key-bits", std::to_string(volume.key_bits));
      add_prop(props, "integrity", report::plain(volume.integrity));
      add_prop(props, "encrypted-bytes", std::to_string(volume.bytes.encrypted));
      add_prop(props, "plaintext-bytes",
               std::to_string(volume.bytes.plaintext + volume.bytes.converting));
      add_prop(props, "header-backup", report::plain(volume.header_backup));
      add_prop(props, "recovery-proven", report::plain(volume.recovery_proven));
      add_prop(props, "protectors", report::joined(volume.protectors, " "));
      add_prop(props, "tenant", report::plain(volume.tenant));
      add_prop(props, "environment", report::plain(volume.environment));
      items.push_back(
          {{"uuid", item_uuid(at)},
           {"description", oscal_string(fmt::format("{}, {}", report::plain(volume.path),
                                                    human_size(volume.size)))},
           {"props", std::move(props)}});
    }
    return items;
  }

  OscalJson observations() const {
    OscalJson list = OscalJson::array();
    for (std::size_t at = 0; at < volumes_.size(); ++at) {
      const VolumeVerdict& volume = volumes_[at];
      OscalJson props = OscalJson::array();
      add_prop(props, "verdict", std::string(to_string(volume.verdict)));
      if (volume.verdict == Verdict::converting)
        add_prop(props, "percent", fmt::format("{:.1f}", volume.percent));
      OscalJson observation = {
          {"uuid", observation_uuid(at)},
          {"title", oscal_string(fmt::format("{}: {}", report::plain(volume.path),
                                             to_string(volume.verdict)))},
          {"description",
           oscal_string(report::joined_reasons(volume.reasons, "; "), to_string(volume.verdict))},
          {"props", std::move(props)},
          {"methods", {"TEST"}},
          {"types", {"finding"}},
          {"subjects", {{{"subject-uuid", item_uuid(at)}, {"type", "inventory-item"}}}},
          {"collected", time_}};
      list.push_back(std::move(observation));
    }
    return list;
  }

  static OscalJson status(const ControlResult& result) {
    if (result.support == Support::contradicted)
      return {{"state", "not-satisfied"}, {"reason", "fail"}};
    if (result.control.sufficient) return {{"state", "satisfied"}, {"reason", "pass"}};
    return {{"state", "not-satisfied"},
            {"reason", "other"},
            {"remarks", "Supported by this report, which cannot show the whole of it."}};
  }

  OscalJson findings() const {
    OscalJson list = OscalJson::array();
    for (const ControlResult& result : report_.controls) {
      if (result.support == Support::no_evidence) continue;
      const Control& control = result.control;
      OscalJson related = OscalJson::array();
      for (const auto* volumes : {&result.contradicting, &result.supporting}) {
        for (const std::size_t at : *volumes)
          related.push_back({{"observation-uuid", observation_uuid(at)}});
      }
      OscalJson finding = {
          {"uuid", uuid("finding " + time_ + ' ' + control.id)},
          {"title", oscal_string(fmt::format("{} {}: {}", control.catalogue, control.reference,
                                             control.title))},
          {"description",
           oscal_string(fmt::format("{} volumes speak for it, {} against it.",
                                    result.supporting.size(), result.contradicting.size()))},
          {"target",
           {{"type", "objective-id"},
            {"target-id", control.id + "_obj"},
            {"status", status(result)}}},
          {"related-observations", std::move(related)}};
      if (!control.note.empty()) finding["remarks"] = control.note;
      list.push_back(std::move(finding));
    }
    return list;
  }

  const Report& report_;
  const std::vector<VolumeVerdict>& volumes_;
  std::string time_;
};

}  // namespace

std::string oscal(const Report& report) {
  return Oscal(report).document().dump(1, ' ', true) + "\n";
}

}  // namespace volseal
