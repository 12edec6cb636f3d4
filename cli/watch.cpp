// volseal watch: tells what is attached, changed or used without being covered, as it happens, and
// does what the policy wants done about it.
#include "cli/exit_status.h"
#include "cli/lock_trigger.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "cli/watch_tell.h"
#include "cli/world.h"
#include "core/audit/reader.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/deny/deny.h"
#include "core/discover/discover.h"
#include "core/lock/trigger.h"
#include "core/watch/header_watch.h"
#include "core/watch/learn.h"
#include "core/watch/warden.h"
#include "core/watch/watcher.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace volseal {

namespace {

struct WatchOptions {
  bool once = false;
  bool json = false;
  bool dry_run = false;
  bool wall = false;
  bool learn = false;
  int learn_days = 90;
};

std::string today() {
  return utc_now().substr(0, sizeof("YYYY-MM-DD") - 1);
}

std::string day_after(int days) {
  const auto day = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now()) +
                   std::chrono::days(days);
  const std::chrono::year_month_day date{day};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

// Longer than a look takes, and what is done after it.
constexpr std::chrono::minutes enough_to_look{5};

// What is in quarantine is still looked at.
void pass_to_look() {
  pass_the_denial(enough_to_look);
}

// The others wait for one that does not answer, once.
constexpr std::chrono::seconds patience_with_a_disk{5};

Sighting look_at_machine(const Hint& hint, const Policy& policy) {
  Sighting now;
  // Not even for a moment: who has just plugged in a disk may be about to mount or format it.
  now.graph = scan({.claim = false,
                    .patience = patience_with_a_disk,
                    .before_reading = pass_to_look,
                    .known = hint.known,
                    .again = hint.again});
  now.coverage = judge(now.graph, policy, today());
  // Devices come and go; the rest is for the report.
  std::erase_if(now.coverage.volumes,
                [](const VolumeVerdict& one) { return one.subject != Subject::device; });
  now.ports = ports_in_sysfs(now.graph);
  return now;
}

// Whoever is locked out by the policy adds it in the boot loader.
std::string escape_on_command_line() {
  constexpr std::string_view word = "volseal.watch=notify";
  const std::string line = " " + read_file_if_any("/proc/cmdline").value_or("") + " ";
  const auto at = line.find(" " + std::string(word));
  if (at == std::string::npos) return "";
  const char next = line[at + 1 + word.size()];
  return next == ' ' || next == '\n' ? fmt::format("{} on the kernel's command line", word) : "";
}

// Several descriptors as one.
class Waker {
 public:
  Waker() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_) throw_errno(errno, "wait for several things");
  }
  void add(int fd) const {
    if (fd < 0) return;
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      throw_errno(errno, "wait for several things");
  }
  int fd() const { return epoll_.get(); }

 private:
  UniqueFd epoll_;
};

// What the policy wants locked is locked in a unit of its own, which may use the TPM and change
// headers. `volseal lock --by-policy` finds the reason where this puts it.
Errand errand_to_lock(const std::string& group, const std::string& reason, const Options& options) {
  constexpr std::chrono::minutes longest(10);
  make_folder(lock_reason_place(group).parent_path());
  write_file(lock_reason_place(group), reason, 0600);
  if (std::filesystem::exists("/run/systemd/system")) {
    return {.argv = {"systemctl", "start", fmt::format("volseal-lock@{}.service", group)},
            .timeout = longest,
            .about = "lock " + group};
  }
  std::vector<std::string> argv = {std::filesystem::read_symlink("/proc/self/exe").native(),
                                   "--policy",
                                   options.policy.native(),
                                   "--state",
                                   options.state.native(),
                                   "lock",
                                   "--by-policy",
                                   group};
  if (!options.tcti.empty()) argv.insert(argv.begin() + 1, {"--tcti", options.tcti});
  return {.argv = std::move(argv), .timeout = longest, .about = "lock " + group};
}

// Enrolls or opens a device, in a unit of its own where systemd runs: the watch may write nothing.
Errand errand_for(Response response, const std::string& node, const Options& options) {
  constexpr std::chrono::hours longest(24);
  const std::string_view verb = response == Response::enroll ? "enroll" : "unlock";
  const std::string name = node.substr(node.rfind('/') + 1);
  if (std::filesystem::exists("/run/systemd/system")) {
    return {.argv = {"systemctl", "start", fmt::format("volseal-{}@{}.service", verb, name)},
            .timeout = longest,
            .about = node};
  }
  std::vector<std::string> argv = {std::filesystem::read_symlink("/proc/self/exe").native(),
                                   "--policy",
                                   options.policy.native(),
                                   "--state",
                                   options.state.native(),
                                   std::string(verb),
                                   response == Response::enroll ? "--yes" : "--listed",
                                   node};
  if (!options.tcti.empty()) argv.insert(argv.begin() + 1, {"--tcti", options.tcti});
  return {.argv = std::move(argv), .timeout = longest, .about = node};
}

class Watchman {
 public:
  Watchman(const Options& options, const WatchOptions& watch)
      : options_(options),
        policy_(load_policy(options.policy)),
        rules_(load_lock_rules(options.policy)),
        preview_(watch.dry_run || watch.once),
        escape_(escape_on_command_line()),
        teller_(AuditLog(audit_log_of(options), "watch"), alarms_, watch.json, watch.wall) {
    teller_.follow(policy_.watch);
  }

  int once() {
    Ledger ledger;
    Sighting now = look_at_machine({}, policy_);
    const int status = now.coverage.exit_status();
    std::vector<Finding> findings = ledger.start(std::move(now));
    // Nobody would hold a claim after this; and it changes nothing.
    make_warden()->act(ledger.last(), policy_, today(), findings);
    stamp(findings);
    if (findings.empty())
      log::note("nothing that would need attention");
    else
      teller_.tell(findings);
    finish(alarms_);
    return status;
  }

  int until_stopped() {
    std::optional<FileLock> lock;
    warden_ = make_warden();
    const Book book;
    if (!preview_) {
      lock.emplace(book.lock());
      deny_.emplace();
      if (!deny_->problem().empty())
        log::note("the kernel cannot deny opens of what is in quarantine: {}", deny_->problem());
    }
    set_first_moment(book);
    const Waker waker;
    for (const int fd : {warden_->fd(), alarms_.fd(), work_.fd()}) waker.add(fd);
    note("watch.start");
    const WatchSummary summary = watch({
        .look = [&](const Hint& hint) { return look(hint); },
        .act = [&](const Sighting& seen, std::vector<Finding>& findings) { act(seen, findings); },
        .tell = [&](std::span<const Finding> findings) { teller_.tell(findings); },
        .reload = [&] { reload(book); },
        .account = [&](const WatchSummary& so_far) { account(so_far); },
        .waker = waker.fd(),
        .wake = [&] { return wake(); },
    });
    // Nobody decides any more about what comes from here on.
    if (!preview_) book.first_moment(false);
    teller_.note("watch.stop", {{"events", std::to_string(summary.events)},
                                {"looks", std::to_string(summary.looks)},
                                {"findings", std::to_string(summary.findings)},
                                {"blind_ms", std::to_string(summary.blind_ms)}});
    return exit_status::good;
  }

 private:
  std::unique_ptr<Warden> make_warden() {
    WardenOptions options;
    options.preview = preview_;
    options.escape = escape_;
    options.start = [this](Response response, const std::string& node) { start(response, node); };
    options.deny = [this](const std::set<DeviceNumber>& numbers) {
      return deny_ ? deny_->set(numbers) : Deny::Change{};
    };
    options.before_opening = pass_to_look;
    options.is_busy = [this](const std::string& node) { return work_.is_about(node); };
    return std::make_unique<Warden>(std::move(options));
  }

  void set_first_moment(const Book& book) const {
    if (!preview_) book.first_moment(policy_.watch.first_moment && escape_.empty());
  }

  Sighting look(const Hint& hint) {
    Sighting now = look_at_machine(hint, policy_);
    volumes_.clear();
    for (const VolumeVerdict& volume : now.coverage.volumes) ++volumes_[volume.verdict];
    return now;
  }

  void act(const Sighting& seen, std::vector<Finding>& findings) {
    try {
      const std::uint64_t broken = warden_->broken();
      warden_->act(seen, policy_, today(), findings);
      look_at_headers(seen, findings);
      if (warden_->broken() == broken) return;
      for (const auto& [group, rules] : rules_)
        tampered(group, "a quarantine of the watch was broken by hand");
    } catch (const Error& error) {
      log::warning("{}", error.what());
    }
  }

  // An enrolled volume whose header is another one, though no verb of ours was at it.
  void look_at_headers(const Sighting& seen, std::vector<Finding>& findings) {
    const auto since = std::exchange(looked_, since_boot());
    for (const HeaderChange& change : headers_.look(seen.graph)) {
      if (is_explained(change, since)) continue;
      const std::string what =
          fmt::format("{}, and volseal did not do that", fmt::join(change.changes, ", "));
      for (const VolumeVerdict& volume : seen.coverage.volumes) {
        if (volume.device != change.device) continue;
        Finding finding = finding_of(Happening::changed, seen, volume);
        finding.noticed_by = "header";
        finding.changes = {"its header was changed: " + what};
        findings.push_back(std::move(finding));
      }
      tampered(change.group, fmt::format("the header of {} was changed: {}",
                                         seen.graph[change.device].path, what));
    }
  }

  // Verbs record what they are about to do to a header, and some wait for a person meanwhile.
  bool is_explained(const HeaderChange& change, std::chrono::milliseconds since) const {
    constexpr std::chrono::minutes at_work(10);
    bool explained = false;
    const std::string boot = boot_id();
    for_each_event(
        audit_log_of(options_).log, change.luks_uuid, [&](const AuditRecord& record, auto) {
          explained = explained || explains_change(record, change.luks_uuid, boot, since - at_work);
        });
    return explained;
  }

  void tampered(const std::string& group, const std::string& reason) {
    const auto found = rules_.find(group);
    const bool wanted =
        found != rules_.end() && found->second.on_tamper != OnTamper::tell && !preview_;
    if (!wanted || alarms_.is_about("lock " + group)) return;
    try {
      if (!alarms_.add(errand_to_lock(group, reason, options_)))
        log::warning("too much waits to lock group {}", group);
    } catch (const std::exception& error) {
      log::warning("group {} is not locked, though the policy wants it: {}", group, error.what());
    }
  }

  void start(Response response, const std::string& node) {
    try {
      if (!work_.add(errand_for(response, node, options_)))
        log::warning("too much waits to {} {}", to_string(response), node);
    } catch (const std::exception& error) {
      log::warning("{}", error.what());
    }
  }

  bool wake() {
    warden_->woken();
    for (Errands* errands : {&alarms_, &work_}) {
      for (const std::string& line : errands->see_to()) log::warning("{}", line);
    }
    return true;
  }

  void reload(const Book& book) {
    policy_ = load_policy(options_.policy);
    rules_ = load_lock_rules(options_.policy);
    teller_.follow(policy_.watch);
    set_first_moment(book);
    note("watch.reload");
  }

  void note(const std::string& action) {
    if (!escape_.empty()) log::warning("findings are told and nothing is done: {}", escape_);
    teller_.note(action, {{"policy", policy_.source},
                          {"policy_digest", policy_.digest},
                          {"otherwise", std::string(to_string(policy_.watch.otherwise))},
                          {"escape", escape_},
                          {"kernel_denies", kernel_denies()},
                          {"dry_run", preview_ ? "yes" : "no"}});
  }

  std::string kernel_denies() const {
    if (!deny_) return "no";
    return deny_->problem().empty() ? "yes" : "no: " + deny_->problem();
  }

  void account(const WatchSummary& summary) {
    teller_.account({.summary = summary,
                     .volumes = volumes_,
                     .quarantined = warden_->held(),
                     .broken = warden_->broken()});
  }

  // Waits for what was started: cron's next line should not overtake it.
  static void finish(Errands& errands) {
    while (errands.waiting() != 0) {
      epoll_event event{};
      ::epoll_wait(errands.fd(), &event, 1, -1);
      for (const std::string& line : errands.see_to()) log::warning("{}", line);
    }
  }

  const Options& options_;
  Policy policy_;
  std::map<std::string, LockRules> rules_;
  bool preview_;
  std::string escape_;
  Errands alarms_{4};
  Errands work_{1};
  WatchTeller teller_;
  std::optional<Deny> deny_;
  std::unique_ptr<Warden> warden_;
  HeaderWatch headers_;
  std::chrono::milliseconds looked_ = since_boot();
  std::map<Verdict, std::size_t> volumes_;
};

void learn(const Options& options, int days) {
  const Policy policy = load_policy(options.policy);
  const Sighting seen = look_at_machine({}, policy);
  print_out(learned_rules(seen, policy, today(), day_after(days)));
}

}  // namespace

void add_watch(CLI::App& app, Session& session) {
  auto options = std::make_shared<WatchOptions>();
  CLI::App* verb = app.add_subcommand(
      "watch", "tell what is attached, changed or used without being covered, as it happens");
  CLI::Option* once =
      verb->add_flag("--once", options->once,
                     "look once, tell what is not covered, do nothing, and end as check does");
  verb->add_flag("--json", options->json, "one JSON object a line (schema volseal-finding/1)");
  verb->add_flag("--wall", options->wall,
                 "show what needs attention to everybody who is logged in, through the journal");
  verb->add_flag("--dry-run", options->dry_run, "only say what the policy would have done");
  CLI::Option* learning = verb->add_flag("--learn", options->learn,
                                         "print rules that allow what is attached now, and end");
  verb->add_option("--days", options->learn_days, "how long the learned rules allow it")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str()
      ->needs(learning);
  learning->excludes(once);
  verb->callback([options, &session] {
    if (options->learn) {
      learn(session.options, options->learn_days);
      return;
    }
    Watchman watchman(session.options, *options);
    session.status = options->once ? watchman.once() : watchman.until_stopped();
  });
}

}  // namespace volseal
