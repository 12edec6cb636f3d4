#include "cli/decrypt_report.h"

#include "cli/output.h"
#include "core/base/escape.h"
#include "core/base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

namespace volseal {

void DecryptReport::event(const char* name, const Json& fields) {
  Json line = {{"schema", "volseal-decrypt-event/1"}, {"event", name}};
  line.update(fields);
  // A reader that is gone stops no decryption.
  tell_out(line.dump(-1, ' ', true) + "\n");
}

void DecryptReport::plan(const DecryptionPlan& plan) {
  plan_ = Json::parse(to_json(plan));
  switch (style_) {
    case DecryptStyle::text: print_out(to_text(plan, columns(STDOUT_FILENO))); return;
    case DecryptStyle::events: event("plan", {{"plan", plan_}}); return;
    case DecryptStyle::result: return;
  }
}

void DecryptReport::step(const DecryptionPlan& plan, const std::string& step) {
  bars_.finish(escaped(at_work_));
  last_percent_ = -1;
  at_work_ = plan.path;
  if (style_ == DecryptStyle::events) {
    event("step", {{"path", to_valid_utf8(plan.path)}, {"step", step}});
  } else {
    log::note("{}: {}", escaped(at_work_), step);
  }
}

void DecryptReport::progress(std::uint64_t done, std::uint64_t total) {
  if (style_ != DecryptStyle::events) {
    bars_.update(escaped(at_work_), done, total);
    return;
  }
  // One line a percent: enough to draw a bar, too few to fill a pipe.
  const int percent =
      total == 0 ? 100
                 : static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(total));
  if (percent == last_percent_) return;
  last_percent_ = percent;
  event(
      "progress",
      {{"path", to_valid_utf8(at_work_)}, {"done", done}, {"total", total}, {"percent", percent}});
}

void DecryptReport::volume(const DecryptionPlan& plan, const std::string& outcome,
                           const std::string& error, const std::string& backup) {
  bars_.finish(escaped(at_work_));
  Json one = {{"path", to_valid_utf8(plan.path)},
              {"outcome", outcome},
              {"luks_uuid", to_valid_utf8(plan.luks_uuid)},
              {"header_backup", to_valid_utf8(backup)}};
  if (!error.empty()) one["error"] = to_valid_utf8(error);
  if (style_ == DecryptStyle::events) event("volume", one);
  volumes_.push_back(std::move(one));
  if (style_ != DecryptStyle::text || outcome != "done") return;
  tell_out(fmt::format("{} is decrypted; its keys open nothing any more\n", escaped(plan.path)));
  if (!backup.empty()) {
    tell_out(fmt::format(
        "  its header backup is kept as {}: with it and one of the old keys, old copies of the "
        "disk still open\n",
        escaped(backup)));
  }
  tell_out("  if the initramfs opened it, 'update-initramfs -u' lets the boot not wait for it\n");
}

void DecryptReport::end(int status) {
  bars_.finish(escaped(at_work_));
  if (style_ == DecryptStyle::events) {
    event("result", {{"status", status}, {"volumes", volumes_}});
  }
  if (style_ == DecryptStyle::result) {
    const Json result = {{"schema", "volseal-decrypt/1"},
                         {"status", status},
                         {"plan", plan_},
                         {"volumes", volumes_}};
    print_out(result.dump(1, ' ', true) + "\n");
  }
}

}  // namespace volseal
