#include "cli/enroll_report.h"

#include "cli/output.h"
#include "core/base/escape.h"
#include "core/base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

namespace volseal {

void EnrollReport::event(const char* name, const Json& fields) {
  Json line = {{"schema", "volseal-enroll-event/1"}, {"event", name}};
  line.update(fields);
  // A reader that is gone stops no encryption.
  tell_out(line.dump(-1, ' ', true) + "\n");
}

void EnrollReport::plan(const Plan& plan) {
  const std::scoped_lock lock(mutex_);
  for (const VolumePlan& volume : plan.volumes) {
    if (volume.task != Task::refuse) continue;
    Json obstacles = Json::array();
    for (const Obstacle& obstacle : volume.obstacles) obstacles.push_back(obstacle.what);
    refused_.push_back({{"path", to_valid_utf8(volume.path)}, {"obstacles", obstacles}});
  }
  switch (style_) {
    case ReportStyle::text: print_out(to_text(plan, columns(STDOUT_FILENO))); return;
    case ReportStyle::events: event("plan", {{"plan", Json::parse(to_json(plan))}}); return;
    case ReportStyle::result: return;
  }
}

void EnrollReport::step(const VolumePlan& volume, const std::string& step) {
  const std::scoped_lock lock(mutex_);
  bars_.finish(escaped(volume.path));
  bars_.interrupt();
  last_percent_[volume.path] = -1;
  if (style_ == ReportStyle::events) {
    event("step", {{"path", to_valid_utf8(volume.path)}, {"step", step}});
  } else {
    log::note("{}: {}", escaped(volume.path), step);
  }
}

void EnrollReport::progress(const VolumePlan& volume, std::uint64_t done, std::uint64_t total) {
  const std::scoped_lock lock(mutex_);
  if (style_ != ReportStyle::events) {
    if (!person_reads_) bars_.update(escaped(volume.path), done, total);
    return;
  }
  // One line a percent: enough to draw a bar, too few to fill a pipe.
  const int percent =
      total == 0 ? 100
                 : static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(total));
  if (percent == std::exchange(last_percent_[volume.path], percent)) return;
  event("progress", {{"path", to_valid_utf8(volume.path)},
                     {"done", done},
                     {"total", total},
                     {"percent", percent}});
}

void EnrollReport::person_reads(bool reads) {
  const std::scoped_lock lock(mutex_);
  if (reads) bars_.interrupt();
  person_reads_ = reads;
}

void EnrollReport::volume(const VolumePlan& volume, const std::string& luks_uuid,
                          const std::string& outcome, const std::string& error) {
  const std::scoped_lock lock(mutex_);
  bars_.finish(escaped(volume.path));
  bars_.interrupt();
  Json one = {{"path", to_valid_utf8(volume.path)},
              {"task", to_string(volume.task)},
              {"outcome", outcome},
              {"luks_uuid", luks_uuid},
              {"mapping", volume.mapping},
              {"group", volume.group}};
  if (!error.empty()) one["error"] = to_valid_utf8(error);
  if (style_ == ReportStyle::events) event("volume", one);
  if (style_ == ReportStyle::text && outcome == "done") {
    tell_out(fmt::format("{} is encrypted\n", escaped(volume.path)));
  }
  volumes_.push_back(std::move(one));
}

void EnrollReport::end(int status) {
  const std::scoped_lock lock(mutex_);
  bars_.interrupt();
  const Json result = {{"schema", "volseal-enroll/1"},
                       {"status", status},
                       {"volumes", volumes_},
                       {"refused", refused_}};
  if (style_ == ReportStyle::events) {
    event("result", {{"status", status}, {"volumes", volumes_}, {"refused", refused_}});
  }
  if (style_ == ReportStyle::result) print_out(result.dump(1, ' ', true) + "\n");
}

}  // namespace volseal
