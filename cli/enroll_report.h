// What an enrollment says while it works: for people, for a program that reads along, or once at
// the end.
#pragma once

#include "cli/progress.h"
#include "core/plan/plan.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace volseal {

enum class ReportStyle {
  text,    // the plan and one line a volume on standard output, steps and bars on standard error
  events,  // JSON lines on standard output, "schema": "volseal-enroll-event/1"
  result,  // one JSON value at the end, "schema": "volseal-enroll/1"; steps as with text
};

// Its functions may be called by several threads at once.
class EnrollReport {
 public:
  explicit EnrollReport(ReportStyle style) : style_(style) {}

  void plan(const Plan& plan);
  void step(const VolumePlan& volume, const std::string& step);
  void progress(const VolumePlan& volume, std::uint64_t done, std::uint64_t total);
  // `outcome`: "done", "failed", "paused". `error`: of Error::what(), for the last two.
  void volume(const VolumePlan& volume, const std::string& luks_uuid, const std::string& outcome,
              const std::string& error = {});
  // While a person is asked something nothing is drawn.
  void person_reads(bool reads);
  void end(int status);

 private:
  using Json = nlohmann::ordered_json;
  static void event(const char* name, const Json& fields);

  ReportStyle style_;
  std::mutex mutex_;
  Progress bars_;
  bool person_reads_ = false;
  std::map<std::string, int> last_percent_;  // by path
  Json volumes_ = Json::array();
  Json refused_ = Json::array();
};

}  // namespace volseal
