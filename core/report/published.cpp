#include "core/report/published.h"

#include "core/base/error.h"
#include "core/base/escape.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <stdexcept>
#include <utility>

namespace volseal {

namespace {

using PublishedJson = nlohmann::json;

template <typename Value, std::size_t size>
Value value_named(const std::array<Value, size>& all, const std::string& name) {
  const auto* found =
      std::ranges::find(all, name, [](Value value) { return std::string(to_string(value)); });
  if (found == all.end()) throw std::invalid_argument("there is no \"" + escaped(name) + "\"");
  return *found;
}

constexpr std::array published_verdicts = {
    Verdict::covered,    Verdict::exempt,  Verdict::covered_weak, Verdict::suspended,
    Verdict::converting, Verdict::unknown, Verdict::not_covered};
constexpr std::array published_subjects = {Subject::device, Subject::gap, Subject::swap_file,
                                           Subject::mount, Subject::dataset};
constexpr std::array published_facts = {Fact::encryption, Fact::cipher,    Fact::tpm,
                                        Fact::recovery,   Fact::escrow,    Fact::two_factors,
                                        Fact::tenant,     Fact::exemption, Fact::judged};

ByteCount bytes_in(const PublishedJson& json) {
  return {.encrypted = json.at("encrypted").get<std::uint64_t>(),
          .converting = json.at("converting").get<std::uint64_t>(),
          .plaintext = json.at("plaintext").get<std::uint64_t>(),
          .unknown = json.at("unknown").get<std::uint64_t>(),
          .unused = json.at("unused").get<std::uint64_t>()};
}

std::vector<std::string> list_in(const PublishedJson& json) {
  return json.is_null() ? std::vector<std::string>() : json.get<std::vector<std::string>>();
}

Filter filter_in(const PublishedJson& json) {
  if (json.is_null()) return {};
  return {.tenants = list_in(json.at("tenants")),
          .environments = list_in(json.at("environments")),
          .groups = list_in(json.at("groups"))};
}

VolumeVerdict volume_in(const PublishedJson& json) {
  VolumeVerdict volume;
  json.at("path").get_to(volume.path);
  json.at("name").get_to(volume.name);
  volume.subject = value_named(published_subjects, json.at("subject").get<std::string>());
  volume.verdict = value_named(published_verdicts, json.at("verdict").get<std::string>());
  json.at("reasons").get_to(volume.reasons);
  json.at("content").get_to(volume.content);
  json.at("mounts").get_to(volume.mounts);
  json.at("size").get_to(volume.size);
  if (!json.at("percent").is_null()) json.at("percent").get_to(volume.percent);
  json.at("cipher").get_to(volume.cipher);
  json.at("key_bits").get_to(volume.key_bits);
  json.at("sector_size").get_to(volume.sector_size);
  json.at("integrity").get_to(volume.integrity);
  volume.bytes = bytes_in(json.at("bytes"));
  json.at("opened").get_to(volume.opened);
  json.at("header_backup").get_to(volume.header_backup);
  json.at("recovery_proven").get_to(volume.recovery_proven);
  json.at("protectors").get_to(volume.protectors);
  for (const PublishedJson& one : json.at("escrows")) {
    volume.escrows.push_back({.keyslot = one.at("keyslot").get<int>(),
                              .certificates = list_in(one.at("certificates")),
                              .threshold = one.at("threshold").get<std::uint32_t>(),
                              .acknowledged = one.at("acknowledged").get<std::string>(),
                              .to = one.at("to").get<std::string>()});
  }
  for (const PublishedJson& one : json.at("drills")) {
    volume.drills.push_back({.keyslot = one.at("keyslot").get<int>(),
                             .kind = one.at("kind").get<std::string>(),
                             .opened = one.at("opened").get<std::string>(),
                             .person = one.at("person").get<std::string>(),
                             .overdue = one.at("overdue").get<bool>()});
    if (!one.at("days").is_null()) volume.drills.back().days = one.at("days").get<int>();
  }
  json.at("group").get_to(volume.group);
  json.at("policy_group").get_to(volume.policy_group);
  json.at("tenant").get_to(volume.tenant);
  json.at("environment").get_to(volume.environment);
  json.at("rule").get_to(volume.rule);
  json.at("until").get_to(volume.until);
  json.at("luks_uuid").get_to(volume.luks_uuid);
  return volume;
}

ReportDevice device_in(const PublishedJson& json) {
  ReportDevice device;
  json.at("path").get_to(device.path);
  json.at("name").get_to(device.name);
  json.at("kind").get_to(device.kind);
  json.at("content").get_to(device.content);
  json.at("label").get_to(device.label);
  json.at("uuid").get_to(device.uuid);
  json.at("model").get_to(device.model);
  json.at("serial").get_to(device.serial);
  json.at("size").get_to(device.size);
  json.at("mounts").get_to(device.mounts);
  json.at("below").get_to(device.below);
  return device;
}

Control control_in(const PublishedJson& json) {
  Control control{.id = json.at("id").get<std::string>(),
                  .catalogue = json.at("catalogue").get<std::string>(),
                  .reference = json.at("reference").get<std::string>(),
                  .title = json.at("title").get<std::string>(),
                  .note = json.at("note").get<std::string>(),
                  .sufficient = json.at("sufficient").get<bool>()};
  for (const PublishedJson& fact : json.at("facts"))
    control.facts.push_back(value_named(published_facts, fact.get<std::string>()));
  return control;
}

// Which device is which volume: the JSON does not say, their paths do.
void connect(Report& report) {
  std::map<std::string, std::size_t> places;
  for (std::size_t at = 0; at < report.devices.size(); ++at) {
    report.devices[at].volume.reset();
    places.emplace(report.devices[at].path, at);
    for (const std::size_t lower : report.devices[at].below) {
      if (lower >= report.devices.size()) throw std::invalid_argument("a device stands on none");
    }
  }
  for (std::size_t at = 0; at < report.coverage.volumes.size(); ++at) {
    VolumeVerdict& volume = report.coverage.volumes[at];
    const auto place = places.find(volume.path);
    const bool there = volume.subject == Subject::device && place != places.end();
    volume.device = there ? place->second : report.devices.size();
    if (there) report.devices[place->second].volume = at;
  }
}

void apply_controls_of(Report& report) {
  Controls controls;
  for (ControlResult& result : report.controls)
    controls.controls.push_back(std::move(result.control));
  report.controls = apply_controls(controls, report.coverage);
}

Report report_in(const PublishedJson& json) {
  Report report;
  Coverage& coverage = report.coverage;
  json.at("host").get_to(coverage.host);
  json.at("taken_at").get_to(coverage.taken_at);
  json.at("policy").get_to(coverage.policy);
  coverage.filter = filter_in(json.at("filter"));
  coverage.bytes = bytes_in(json.at("bytes"));
  for (const PublishedJson& disk : json.at("disks"))
    coverage.disks.push_back(
        {.name = disk.at("name").get<std::string>(), .bytes = bytes_in(disk.at("bytes"))});
  json.at("shared_disks").get_to(coverage.shared_disks);
  for (const PublishedJson& volume : json.at("volumes")) {
    coverage.volumes.push_back(volume_in(volume));
    report.ids.push_back(volume.at("id").get<std::string>());
  }
  count_tenants(coverage);
  const auto made_by = json.at("made_by").get<std::string>();
  report.version = made_by.substr(std::min(made_by.find(' ') + 1, made_by.size()));
  json.at("made_at").get_to(report.made_at);
  json.at("kernel").get_to(report.kernel);
  json.at("boot_id").get_to(report.boot_id);
  json.at("policy_digest").get_to(report.policy_digest);
  json.at("root").get_to(report.root);
  for (const PublishedJson& device : json.at("devices"))
    report.devices.push_back(device_in(device));
  for (const PublishedJson& control : json.at("controls"))
    report.controls.push_back({.control = control_in(control)});
  connect(report);
  apply_controls_of(report);
  return report;
}

}  // namespace

Report parse_published(std::string_view text, std::string_view source) {
  const auto fail = [&](std::string_view why) {
    return Error(Code::bad_report, "{}: {}", escaped(source), why);
  };
  const PublishedJson json = PublishedJson::parse(text, nullptr, false);
  if (!json.is_object()) throw fail("not a report in JSON");
  try {
    if (json.at("schema") != "volseal-coverage/1")
      throw fail("of another schema than volseal-coverage/1");
    return report_in(json);
  } catch (const PublishedJson::exception& error) {
    throw fail(on_one_line(error.what()));
  } catch (const std::invalid_argument& error) {
    throw fail(error.what());
  }
}

void join(Report& report, Report more) {
  Coverage& all = report.coverage;
  std::map<std::string, std::size_t> places;
  for (std::size_t at = 0; at < report.devices.size(); ++at)
    places.emplace(report.devices[at].path, at);
  std::vector<std::size_t> moved;
  for (const ReportDevice& device : more.devices) {
    const auto [place, added] = places.emplace(device.path, report.devices.size());
    moved.push_back(place->second);
    if (added) report.devices.push_back(device);
  }
  for (std::size_t at = 0; at < more.devices.size(); ++at) {
    ReportDevice& device = report.devices[moved[at]];
    device.below.clear();
    for (const std::size_t lower : more.devices[at].below) device.below.push_back(moved[lower]);
  }
  std::ranges::move(more.coverage.volumes, std::back_inserter(all.volumes));
  std::ranges::move(more.ids, std::back_inserter(report.ids));
  std::ranges::move(more.coverage.filter.groups, std::back_inserter(all.filter.groups));
  std::ranges::move(more.coverage.disks, std::back_inserter(all.disks));
  for (std::string& disk : more.coverage.shared_disks) {
    if (std::ranges::find(all.shared_disks, disk) == all.shared_disks.end())
      all.shared_disks.push_back(std::move(disk));
  }
  all.bytes += more.coverage.bytes;
  all.taken_at = std::min(all.taken_at, more.coverage.taken_at);
  count_tenants(all);
  connect(report);
  apply_controls_of(report);
}

}  // namespace volseal
