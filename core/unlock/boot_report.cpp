#include "core/unlock/boot_report.h"

#include "core/base/error.h"
#include "core/unlock/attempt_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <set>

namespace volseal {

using Json = nlohmann::ordered_json;

namespace {

constexpr const char* schema = "volseal-boot/1";

std::chrono::milliseconds milliseconds(const Json& json) {
  return std::chrono::milliseconds(json.get<std::int64_t>());
}

}  // namespace

std::string to_json(const BootReport& report) {
  Json parts = Json::object();
  for (const auto& [name, took] : report.parts) parts[name] = took.count();
  Json attempts = Json::array();
  for (const Attempt& attempt : report.attempts) attempts.push_back(json_of(attempt));
  const Json json = {{"schema", schema},
                     {"boot_id", report.boot_id},
                     {"began_ms", report.began.count()},
                     {"ended_ms", report.ended.count()},
                     {"parts_ms", parts},
                     {"attempts", attempts},
                     {"missing", report.missing},
                     {"latch", report.latch},
                     {"refusal", report.refusal},
                     {"stop", report.stop}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

BootReport boot_report_from_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  try {
    if (json.at("schema") != schema)
      throw Error(Code::damaged, "read the boot report: it is of another version");
    BootReport report;
    report.boot_id = json.at("boot_id").get<std::string>();
    report.began = milliseconds(json.at("began_ms"));
    report.ended = milliseconds(json.at("ended_ms"));
    for (const auto& [name, took] : json.at("parts_ms").items())
      report.parts.emplace_back(name, milliseconds(took));
    for (const Json& attempt : json.at("attempts"))
      report.attempts.push_back(attempt_from_json(attempt));
    report.missing = json.at("missing").get<std::vector<std::string>>();
    report.latch = json.at("latch").get<std::string>();
    report.refusal = json.at("refusal").get<std::string>();
    report.stop = json.at("stop").get<std::string>();
    return report;
  } catch (const Json::exception&) {
    throw Error(Code::damaged, "read the boot report: a member is missing or of the wrong type");
  }
}

std::optional<BootReport> read_boot_report(const Path& path) {
  const auto text = read_file_if_any(path);
  if (!text) return std::nullopt;
  return boot_report_from_json(*text);
}

std::string how_opened(const BootReport& report) {
  std::set<std::string> protectors;
  for (const Attempt& attempt : report.attempts) {
    if (attempt.outcome == Outcome::opened) protectors.insert(attempt.protector);
  }
  return fmt::format("{}", fmt::join(protectors, " and "));
}

}  // namespace volseal
