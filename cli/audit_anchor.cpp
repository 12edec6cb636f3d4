#include "cli/audit_anchor.h"

#include "cli/world.h"
#include "core/audit/checkpoint.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/base/strict_json.h"
#include "core/policy/policy.h"
#include "tpm/anchor.h"
#include "tpm/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace volseal {

namespace {

using namespace std::chrono_literals;

// NV cells bear some 100,000 writes: 24 a day are 87,600 in ten years.
constexpr std::uint64_t most_a_day = 24;
constexpr auto least_between = 50min;

// How often the TPM was written to. Counted before each write, so that a failing one wears too.
class Wear {
 public:
  explicit Wear(Path file) : file_(std::move(file)) {
    try {
      if (const auto text = read_file_if_any(file_)) read(*text);
    } catch (const Error& error) {
      log::detail("how often the TPM was written to is not known: {}", error.what());
    }
  }

  bool allows(bool now) const {
    if (day_ == today() && writes_ >= most_a_day) return false;
    const bool just_now = boot_ == boot_id() && since_boot() - at_ < least_between;
    return now || !just_now;
  }

  void count() {
    writes_ = day_ == today() ? writes_ + 1 : 1;
    day_ = today();
    boot_ = boot_id();
    at_ = since_boot();
    const nlohmann::json json = {
        {"day", day_}, {"writes", writes_}, {"boot_id", boot_}, {"boot_ms", at_.count()}};
    write_file(file_, json.dump() + "\n");
  }

 private:
  static std::string today() { return utc_now().substr(0, 10); }

  void read(const std::string& text) {
    const nlohmann::json parsed = StrictJson::parse(text, 4096, "the anchor's count");
    StrictJson json(parsed, "the anchor's count");
    day_ = json.text("day", 32);
    writes_ = json.number("writes", 0, UINT32_MAX);
    boot_ = json.text("boot_id", 64);
    at_ = std::chrono::milliseconds(json.number("boot_ms", 0, INT64_MAX));
    json.finish();
  }

  Path file_;
  std::string day_;
  std::uint64_t writes_ = 0;
  std::string boot_;
  std::chrono::milliseconds at_{0};
};

std::optional<tpm::LogAnchor> anchor_of(const audit::Checkpoint& checkpoint) {
  const auto origin = audit::parse_origin(checkpoint.origin);
  const auto log = origin ? from_hex(origin->log) : std::nullopt;
  tpm::LogAnchor anchor{.size = checkpoint.size, .root = checkpoint.root};
  if (!log || log->size() != anchor.log.size()) return std::nullopt;
  std::ranges::copy(*log, anchor.log.begin());
  return anchor;
}

void renew(tpm::Connection& connection, const Path& folder, const std::string& reason,
           const Options& options) {
  // Said before it is done: the log has it even if the rest fails.
  const AuditPlace place = audit_log_of(options);
  AuditLog(place, "audit")
      .record({.action = "audit.anchor",
               .outcome = std::string(audit_started),
               .detail = {{"reason", reason}}});
  audit::make_checkpoint(place);
  tpm::forget_anchor(connection, folder);
}

void write_checked(tpm::Connection& connection, const Path& folder, const AnchorOptions& how,
                   const tpm::LogAnchor& anchor) {
  const tpm::AnchorReading held = tpm::read_anchor(connection, folder);
  if (const auto& old = held.anchor) {
    if (*old == anchor) return;
    if (old->log != anchor.log) {
      throw Error(Code::tampered, "put the checkpoint into the TPM: it holds that of another log");
    }
    if (old->size > anchor.size) {
      throw Error(Code::tampered,
                  "put the checkpoint into the TPM: it holds one of {} lines, and this is of {}",
                  old->size, anchor.size);
    }
  }
  Wear wear(folder / "anchored.json");
  // The next run does it.
  if (!wear.allows(how.now || how.renew)) return;
  wear.count();
  tpm::write_anchor(connection, folder, anchor);
}

}  // namespace

bool anchor_checkpoint(const AnchorOptions& how, const Options& options) {
  if (!load_policy(options.policy).audit.tpm) return true;
  const Path log = audit_log_of(options).log;
  const Path folder = audit::folder_of(log);
  if (!audit::last_checkpoint(log)) return true;
  try {
    const FileLock one_at_a_time(folder / "anchor.lock");
    tpm::Connection connection = tpm::Connection::connect(options.tcti);
    if (how.renew) renew(connection, folder, *how.renew, options);
    const auto last = audit::last_checkpoint(log);
    const auto anchor = last ? anchor_of(*last) : std::nullopt;
    if (!anchor) throw Error(Code::damaged, "read {}: no checkpoint of this log", folder.native());
    write_checked(connection, folder, how, *anchor);
    return true;
  } catch (const Error& error) {
    // A machine without a TPM is no failure, unless it had one.
    if (error.code() == Code::no_tpm && !tpm::has_anchor(folder) && !how.renew) return true;
    log::warning("the TPM does not hold the newest checkpoint: {}", error.what());
    return false;
  }
}

TpmWord tpm_word(const Options& options) {
  const Path folder = audit::folder_of(audit_log_of(options).log);
  TpmWord word;
  if (!tpm::has_anchor(folder)) return word;
  try {
    tpm::Connection connection = tpm::Connection::connect(options.tcti);
    const tpm::AnchorReading reading = tpm::read_anchor(connection, folder);
    switch (reading.state) {
      case tpm::AnchorState::none: break;
      case tpm::AnchorState::held: word.state = "held"; break;
      case tpm::AnchorState::gone: word.state = "gone"; break;
      case tpm::AnchorState::replaced: word.state = "replaced"; break;
    }
    if (const auto& anchor = reading.anchor)
      word.anchored = {.size = anchor->size, .root = anchor->root, .log = to_hex(anchor->log)};
  } catch (const Error& error) {
    word = {.state = "unreachable", .why = error.what(), .anchored = {}};
  }
  return word;
}

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
