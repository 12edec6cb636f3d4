#include "core/watch/watcher.h"

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/watch/monitor.h"
#include "core/watch/quota.h"
#include "core/watch/service.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

namespace volseal {

namespace {

constexpr std::int64_t quiet_ms = 50;  // a burst is over
constexpr std::int64_t longest_burst_ms = 250;
constexpr std::int64_t udevd_patience_ms = 400;
constexpr std::int64_t gap_patience_ms = 5'000;
constexpr std::int64_t reconcile_ms = 60'000;
constexpr std::int64_t longest_pause_ms = 500;
constexpr std::int64_t full_ms = 3'600'000;
constexpr std::int64_t retry_ms = 2'000;
constexpr std::size_t enough_buffer = 64U << 20U;
constexpr std::int64_t never = INT64_MAX;

std::int64_t now_ms() {
  return since_boot().count();
}

// The names, sequence numbers and sizes of all block devices: what an event would have announced.
std::set<std::string> block_devices() {
  std::set<std::string> devices;
  std::error_code error;
  const std::filesystem::directory_iterator folder("/sys/class/block", error);
  if (error) return devices;
  for (const auto& entry : folder) {
    std::string text = entry.path().filename().native();
    for (const char* attribute : {"diskseq", "size"}) {
      try {
        text += '/' + read_file_if_any(entry.path() / attribute, 64).value_or("");
      } catch (const Error&) {  // NOLINT(bugprone-empty-catch): gone while it was read; the set
                                // differs then
      }
    }
    devices.insert(std::move(text));
  }
  return devices;
}

// As core/discover reads it: init's.
UniqueFd open_mounts() {
  UniqueFd fd(::open("/proc/1/mountinfo", O_RDONLY | O_CLOEXEC));
  return fd ? std::move(fd) : open_file("/proc/self/mountinfo", O_RDONLY);
}

std::optional<EventMonitor> open_udevd() {
  if (!EventMonitor::udevd_runs()) return std::nullopt;
  return EventMonitor::open(EventMonitor::Source::udevd);
}

class Watch {
 public:
  explicit Watch(const WatchCallbacks& callbacks) : callbacks_(callbacks) {}

  WatchSummary run() {
    if (!udevd_) log::warning("udevd does not run: listening to the kernel alone");
    if (kernel_.buffer_size() < enough_buffer) {
      log::warning(
          "the receive buffer has {} bytes only: a burst of events may be lost, and is noticed "
          "then",
          kernel_.buffer_size());
    }
    notify_manager("READY=1\nSTATUS=looking at everything");
    look_at(now_ms());
    while (!stop_) wait_and_handle();
    notify_manager("STOPPING=1");
    return summary_;
  }

 private:
  void wait_and_handle() {
    const std::int64_t before = now_ms();
    const std::int64_t wake =
        std::min({look_due(), reconcile_at_, watchdog_at_, quota_.due(),
                  kernel_.waits_for_missing() ? before + gap_patience_ms : never});
    const auto timeout = static_cast<int>(std::clamp<std::int64_t>(wake - before, 0, reconcile_ms));
    std::array<pollfd, 6> fds = {
        {{.fd = kernel_.fd(), .events = POLLIN, .revents = 0},
         {.fd = udevd_ ? udevd_->fd() : -1, .events = POLLIN, .revents = 0},
         {.fd = signals_.fd(), .events = POLLIN, .revents = 0},
         {.fd = mounts_.get(), .events = POLLPRI, .revents = 0},
         {.fd = swaps_.get(), .events = POLLPRI, .revents = 0},
         {.fd = callbacks_.waker, .events = POLLIN, .revents = 0}}};
    if (::poll(fds.data(), fds.size(), timeout) < 0 && errno != EINTR)
      throw_errno(errno, "wait for events");
    const std::int64_t now = now_ms();
    if (now >= watchdog_at_) pet_watchdog(now);
    while (const auto signal = signals_.receive()) handle_signal(*signal);
    if (stop_) return;
    if ((fds[3].revents & (POLLPRI | POLLERR)) != 0) note(now, burst_.mounts);
    if ((fds[4].revents & (POLLPRI | POLLERR)) != 0) note(now, burst_.swaps);
    if (fds[5].revents != 0 && callbacks_.wake()) began(now);
    receive(now);
    if (now >= reconcile_at_) reconcile(now);
    if (now >= look_due()) look_at(now);
    if (now >= quota_.due()) tell({}, now);
  }

  void note(std::int64_t now, bool& what) {
    what = true;
    began(now);
  }

  // Something is to be looked at once it is quiet.
  void began(std::int64_t now) {
    last_event_ = now;
    if (first_event_ == 0) first_event_ = now;
  }

  void receive(std::int64_t now) {
    const std::string lost = kernel_.receive(now, [&](DeviceEvent event) {
      ++summary_.events;
      if (!udevd_)
        began(now);
      else if (first_unsettled_ == 0)
        first_unsettled_ = now;
      burst_.add(std::move(event));
    });
    if (!lost.empty() || burst_.overflowed) {
      began(now);
      everything_ = true;
      loss_ = lost.empty() ? "more events waited for a look than are kept" : lost;
    } else if (loss_.empty()) {
      last_whole_ = now;
    }
    if (const auto missing = kernel_.missing(now, gap_patience_ms); missing.count != 0) {
      // Numbers also go to the network devices of other namespaces, which nobody tells us about: so
      // this alone is no blindness, but a reason to look.
      log::detail("{} events of the kernel did not come: looking at everything", missing.count);
      began(now);
      everything_ = true;
      if (gap_since_ == 0) gap_since_ = missing.since_ms;
    }
    if (!udevd_) return;
    // What is lost here, the kernel has said already.
    const std::string delayed = udevd_->receive(now, [&](DeviceEvent event) {
      began(now);
      burst_.add(std::move(event));
    });
    if (!delayed.empty()) {
      began(now);
      everything_ = true;
    }
  }

  // A burst is over when it has been quiet, or has lasted long enough. A scan that takes long is
  // not begun again at once: what it causes itself must not keep it running for ever.
  std::int64_t look_due() const {
    const std::int64_t quiet =
        first_event_ == 0 ? never
                          : std::min(last_event_ + quiet_ms, first_event_ + longest_burst_ms);
    const std::int64_t impatient =
        first_unsettled_ == 0 ? never : first_unsettled_ + udevd_patience_ms;
    return std::max(std::min(quiet, impatient), not_before_);
  }

  void reconcile(std::int64_t now) {
    reconcile_at_ = now + reconcile_ms;
    const bool other = first_event_ == 0 && block_devices() != known_;
    if (other) log::detail("the kernel has other block devices than were announced");
    if (other || now >= full_at_) {
      began(now);
      everything_ = true;
    } else if (first_event_ == 0 && std::ranges::any_of(ledger_.last().graph.devices, is_silent)) {
      // No event says that a device answers again.
      began(now);
    }
    // A date may have passed, a claim may work now, a quarantine may have been broken.
    std::vector<Finding> findings;
    if (callbacks_.act && looked_) callbacks_.act(ledger_.last(), findings);
    summary_.findings += findings.size();
    tell(std::move(findings), now);
    if (callbacks_.account) callbacks_.account(summary_);
  }

  static bool is_silent(const Device& device) {
    return device.content.kind == ContentKind::unreadable;
  }

  void look_at(std::int64_t started) {
    const Burst burst = std::exchange(burst_, {});
    const std::int64_t begun =
        first_unsettled_ != 0 ? first_unsettled_ : std::max(first_event_, std::int64_t{1});
    first_event_ = first_unsettled_ = 0;
    ++summary_.looks;
    const bool everything = std::exchange(everything_, false) || !udevd_ || started >= full_at_;
    if (everything) full_at_ = started + full_ms;
    known_ = block_devices();
    std::vector<Finding> findings;
    try {
      Sighting now = callbacks_.look(hint_for(burst, everything));
      findings = looked_ ? ledger_.take(std::move(now), burst) : ledger_.start(std::move(now));
      looked_ = true;
    } catch (const Error& error) {
      log::warning("{}; trying again", error.what());
      // The events stay, so that what they announced is still told.
      burst_ = burst;
      everything_ = everything;
      first_event_ = last_event_ = started;
      not_before_ = now_ms() + retry_ms;
      return;
    }
    const std::int64_t done = now_ms();
    log::detail("looked for {} ms after {} events, {} ms after the first", done - started,
                burst.events.size(), started - begun);
    not_before_ = done + std::min<std::int64_t>(done - started, longest_pause_ms);
    if (auto blind = was_blind(findings)) {
      ++summary_.blinds;
      summary_.blind_ms += done - blind->since_ms;
      findings.insert(findings.begin(), std::move(*blind));
    }
    loss_.clear();
    gap_since_ = 0;
    if (callbacks_.act) callbacks_.act(ledger_.last(), findings);
    summary_.findings += findings.size();
    tell(std::move(findings), done);
    if (callbacks_.account) callbacks_.account(summary_);
    notify_manager(fmt::format("STATUS=watching {} block devices", known_.size()));
    if (now_ms() >= watchdog_at_) pet_watchdog(now_ms());
  }

  void tell(std::vector<Finding> findings, std::int64_t now) {
    findings = quota_.admit(std::move(findings), now);
    if (findings.empty()) return;
    stamp(findings);
    callbacks_.tell(findings);
  }

  // Where udevd runs, the close of a device that was written to is an event too. So what no event
  // speaks of is as it was, and its disk may sleep; once an hour nothing is taken for granted.
  Hint hint_for(const Burst& burst, bool everything) const {
    if (everything || !looked_) return {};
    Hint hint{.known = &ledger_.last().graph};
    for (const DeviceEvent& event : burst.events) hint.again.insert(event.name);
    return hint;
  }

  // Whether events were lost before this look, as far as anything shows it.
  std::optional<Finding> was_blind(std::span<const Finding> findings) const {
    Finding blind{.what = Happening::blind, .noticed_by = "event"};
    const bool unannounced = std::ranges::any_of(findings, [](const Finding& finding) {
      return finding.noticed_by == "rescan" && finding.what != Happening::changed;
    });
    if (!loss_.empty()) {
      blind.since_ms = last_whole_;
      blind.changes = {loss_};
    } else if (gap_since_ != 0 && unannounced) {
      blind.since_ms = gap_since_;
      blind.changes = {"events of the kernel did not come"};
    } else {
      return std::nullopt;
    }
    return blind;
  }

  void handle_signal(int signal) {
    if (signal != SIGHUP) {
      stop_ = true;
      return;
    }
    notify_manager("RELOADING=1");
    try {
      callbacks_.reload();
    } catch (const Error& error) {
      log::warning("{}; the policy stays as it was", error.what());
    }
    notify_manager("READY=1");
    everything_ = true;
    began(now_ms());
  }

  void pet_watchdog(std::int64_t now) {
    notify_manager("WATCHDOG=1");
    watchdog_at_ = now + watchdog_interval_;
  }

  const WatchCallbacks& callbacks_;
  SignalFd signals_;
  EventMonitor kernel_ = EventMonitor::open(EventMonitor::Source::kernel);
  std::optional<EventMonitor> udevd_ = open_udevd();
  UniqueFd mounts_ = open_mounts();
  UniqueFd swaps_ = open_file("/proc/swaps", O_RDONLY);
  Ledger ledger_;
  Quota quota_;
  WatchSummary summary_;
  bool looked_ = false;
  bool everything_ = true;  // nothing of the last look is taken for granted
  bool stop_ = false;
  Burst burst_;
  std::string loss_;             // why events were lost since the last look; "" where none were
  std::set<std::string> known_;  // block_devices() at the last look
  // Boot clock, milliseconds; 0: there is none.
  std::int64_t first_event_ = 0;
  std::int64_t last_event_ = 0;
  std::int64_t first_unsettled_ = 0;    // the kernel said so, and udevd not yet
  std::int64_t gap_since_ = 0;          // the first of the missing events was after this
  std::int64_t last_whole_ = now_ms();  // until here nothing was lost
  std::int64_t not_before_ = 0;
  std::int64_t full_at_ = 0;
  std::int64_t reconcile_at_ = now_ms() + reconcile_ms;
  std::int64_t watchdog_interval_ = watchdog_ms();
  std::int64_t watchdog_at_ = watchdog_interval_ == 0 ? never : 0;
};

}  // namespace

void stamp(std::span<Finding> findings) {
  const std::string time = utc_now();
  const std::int64_t boot = now_ms();
  for (Finding& finding : findings) {
    finding.time = time;
    finding.boot_ms = boot;
  }
}

std::map<std::string, std::string> ports_in_sysfs(const DeviceGraph& graph) {
  std::map<std::string, std::string> ports;
  for (const Device& device : graph.devices) {
    if (device.kind != DeviceKind::disk) continue;
    std::error_code error;
    const auto path =
        std::filesystem::canonical(Path("/sys/class/block") / device.name / "device", error);
    if (!error) ports[device.name] = path.native().substr(std::string_view("/sys").size());
  }
  return ports;
}

WatchSummary watch(const WatchCallbacks& callbacks) {
  return Watch(callbacks).run();
}

}  // namespace volseal
