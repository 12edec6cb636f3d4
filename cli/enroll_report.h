// What an enrollment says while it works: for people, for a program that reads along, or once at
// the end.
#pragma once

#include "cli/progress.h"
#include "core/plan/plan.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace volseal {

enum class ReportStyle {
  text,    // the plan and one line a volume on standard output, steps and bars on standard error
  events,  // JSON lines on standard output, "schema": "volseal-enroll-event/1"
  result,  // one JSON value at the end, "schema": "volseal-enroll/1"; steps as with text
};

class EnrollReport {
 public:
  explicit EnrollReport(ReportStyle style) : style_(style) {}

  void plan(const Plan& plan);
  void step(const VolumePlan& volume, const std::string& step);
  void progress(std::uint64_t done, std::uint64_t total);
  // `outcome`: "done", "failed", "paused". `error`: of Error::what(), for the last two.
  void volume(const VolumePlan& volume, const std::string& luks_uuid, const std::string& outcome,
              const std::string& error = {});
  // Before a person is asked something.
  void interrupt() { bar_.reset(); }
  void end(int status);

 private:
  using Json = nlohmann::ordered_json;
  static void event(const char* name, const Json& fields);

  ReportStyle style_;
  std::string at_work_;
  std::optional<Progress> bar_;
  int last_percent_ = -1;
  Json volumes_ = Json::array();
  Json refused_ = Json::array();
};

}  // namespace volseal
