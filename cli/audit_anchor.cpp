#include "cli/audit_anchor.h"

#include "cli/world.h"
#include "core/audit/checkpoint.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/policy/policy.h"

#include <fmt/format.h>

#include <chrono>

namespace volseal {

bool hand_out_checkpoint(const Options& options) {
  const AuditPolicy policy = load_policy(options.policy).audit;
  if (policy.anchor.empty()) return true;
  const Path log = audit_log_of(options).log;
  const auto note = audit::last_note(log);
  if (!note) return true;
  const Path acknowledged = audit::folder_of(log) / "acknowledged";
  if (read_file_if_any(acknowledged) == note) return true;
  ProcessResult result;
  try {
    result = run(policy.anchor, *note, {.timeout = std::chrono::seconds(policy.timeout)});
  } catch (const Error& error) {
    log::warning("the checkpoint was not handed out: {}", error.what());
    return false;
  }
  if (result.timed_out || result.status != 0) {
    const std::string said = result.output.substr(0, result.output.find('\n'));
    log::warning("the checkpoint was not handed out: {} {}{}{}", escaped(policy.anchor.front()),
                 result.timed_out ? fmt::format("did not end within {} s", policy.timeout)
                                  : fmt::format("ended with {}", result.status),
                 said.empty() ? "" : ": ", escaped(said));
    return false;
  }
  write_file(acknowledged, *note);
  return true;
}

}  // namespace volseal
