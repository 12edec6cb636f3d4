// What a decryption says while it works: for people, for a program that reads along, or once at the
// end.
#pragma once

#include "cli/progress.h"
#include "core/decrypt/plan.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

namespace volseal {

enum class DecryptStyle {
  text,    // the plan and the end on standard output, steps and bars on standard error
  events,  // JSON lines on standard output, "schema": "volseal-decrypt-event/1"
  result,  // one JSON value at the end, "schema": "volseal-decrypt/1"; steps as with text
};

class DecryptReport {
 public:
  explicit DecryptReport(DecryptStyle style) : style_(style) {}

  void plan(const DecryptionPlan& plan);
  void step(const DecryptionPlan& plan, const std::string& step);
  void progress(std::uint64_t done, std::uint64_t total);
  // `outcome`: "done", "failed", "paused", "refused". `error`: of Error::what(). `backup`: where
  // the header backup is now.
  void volume(const DecryptionPlan& plan, const std::string& outcome, const std::string& error,
              const std::string& backup);
  // Before a person is asked something.
  void interrupt() { bars_.interrupt(); }
  void end(int status);

 private:
  using Json = nlohmann::ordered_json;
  static void event(const char* name, const Json& fields);

  DecryptStyle style_;
  std::string at_work_;
  Progress bars_;
  int last_percent_ = -1;
  Json plan_;
  Json volumes_ = Json::array();
};

}  // namespace volseal
