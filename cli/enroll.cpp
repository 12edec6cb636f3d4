// volseal enroll: carries out the plan.
#include "cli/enroll_people.h"
#include "cli/enroll_report.h"
#include "cli/escrows.h"
#include "cli/exit_status.h"
#include "cli/graph.h"
#include "cli/hints.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/recovery_page.h"
#include "cli/recovery_print.h"
#include "cli/stop.h"
#include "cli/throttle.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/log.h"
#include "core/decrypt/journal.h"
#include "core/discover/discover.h"
#include "core/enroll/crew.h"
#include "core/enroll/executor.h"
#include "core/erase/journal.h"
#include "core/plan/plan.h"
#include "core/protect/recovery_key.h"
#include "core/tables/tables.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace volseal {

namespace {

using namespace std::chrono_literals;

struct EnrollOptions {
  std::vector<std::string> volumes;
  bool unmount = false;
  bool offline = false;
  bool yes = false;
  std::optional<Path> recovery_key_dir;
  PageOptions page;
  std::optional<int> escrow_fd;
  std::optional<Path> key_file;
  std::uint64_t io_limit = 0;  // bytes per second, of all volumes together; 0: none
  unsigned jobs = 4;
  std::string progress = "text";
  bool json = false;
  bool pause = false;

  ReportStyle style() const {
    if (json) return ReportStyle::result;
    return progress == "json" ? ReportStyle::events : ReportStyle::text;
  }
};

// A person reads and answers meanwhile.
class Reading {
 public:
  explicit Reading(EnrollReport& report) : report_(report) { report_.person_reads(true); }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  Reading(Reading&&) = delete;
  Reading& operator=(Reading&&) = delete;
  ~Reading() { report_.person_reads(false); }

 private:
  EnrollReport& report_;
};

class EnrollRun {
 public:
  EnrollRun(const EnrollOptions& options, const Session& session)
      : options_(options),
        session_(session),
        policy_(load_policy(session.options.policy)),
        groups_(session.options, policy_),
        audit_(audit_log_of(session.options), "enroll"),
        escrows_(policy_, audit_, options.escrow_fd),
        report_(options.style()),
        throttle_(options.io_limit),
        executor_(policy_,
                  {.state = session.options.state,
                   .unmount = options.unmount,
                   .online = !options.offline},
                  world()) {}

  int all() {
    try {
      const int status = carry_out();
      report_.end(status);
      return status;
    } catch (const Error& error) {
      // Programs get their result whatever happened; the words go to standard error as ever.
      report_.end(report_error(error));
      return exit_status_for(error.code());
    }
  }

 private:
  int carry_out() {
    refuse_while_decrypting(session_.options.state, "enroll");
    refuse_while_erasing(session_.options.state, "enroll");
    finish_what_was_cut_off();
    PlanOptions plan_options;
    plan_options.today = utc_now().substr(0, 10);
    plan_options.only = options_.volumes;
    for (std::string& name : plan_options.only) {
      if (is_image(name)) name = std::filesystem::canonical(name).native();
    }
    // With its disk failing, or held by others, a volume may not even look like one just now.
    std::erase_if(plan_options.only, [&](const std::string& name) {
      return std::ranges::any_of(executor_.journal().unfinished(), [&](const JournalEntry& entry) {
        return entry.plan.path == name;
      });
    });
    if (!options_.volumes.empty() && plan_options.only.empty()) return status_;
    plan_options.unmount = options_.unmount;
    plan_options.offline = options_.offline;
    // What this run itself needs is not unmounted.
    plan_options.needed.push_back(session_.options.state.native());
    plan_options.needed.push_back(session_.options.policy.native());
    if (options_.recovery_key_dir)
      plan_options.needed.push_back(options_.recovery_key_dir->native());
    if (options_.page.folder) plan_options.needed.push_back(options_.page.folder->native());
    for (const Group& group : policy_.groups) {
      if (group.escrow && !group.escrow->directory.empty())
        plan_options.needed.push_back(group.escrow->directory.native());
    }
    const Plan plan = make_plan(take_graph(), policy_, plan_options);
    report_.plan(plan);
    if (!plan.has_work())
      return std::max(status_, plan.has_obstacles() ? exit_status::refused : exit_status::good);
    require_place_for_recovery_keys(plan);
    if (!options_.yes && !confirm("Carry this out?")) {
      throw Error(Code::usage, "enroll: not confirmed; say --yes where there is no terminal");
    }
    const DeviceGraph graph = take_graph();
    std::vector<Job> jobs;
    for (const VolumePlan& volume : plan.volumes) {
      if (!is_work(volume.task) || is_unfinished(volume)) continue;
      jobs.push_back({spindles_of(graph, volume),
                      [&] { attempt(volume, [&] { executor_.enroll(volume); }); }});
    }
    run_jobs(jobs, options_.jobs, turn_);
    add_what_people_have(done_, options_.style() == ReportStyle::text, session_);
    if (plan.has_obstacles()) status_ = std::max(status_, exit_status::refused);
    return status_;
  }

  // It was tried a moment ago and could not go on; its journal stands, and one is enough.
  bool is_unfinished(const VolumePlan& volume) const {
    return std::ranges::any_of(executor_.journal().unfinished(), [&](const JournalEntry& entry) {
      return entry.plan.path == volume.path || entry.luks_uuid == volume.luks_uuid;
    });
  }

  void finish_what_was_cut_off() {
    executor_.journal().remove_strays();
    const std::vector<JournalEntry> entries = executor_.journal().unfinished();
    if (entries.empty()) return;
    const DeviceGraph graph = take_graph();
    std::vector<Job> jobs;
    for (const JournalEntry& entry : entries) {
      uuids_[entry.plan.path] = entry.luks_uuid;
      log::note("going on with {}, which was cut off while {}", escaped(entry.plan.path),
                to_string(entry.phase));
      jobs.push_back({spindles_of(graph, entry.plan),
                      [&] { attempt(entry.plan, [&] { executor_.resume(entry); }); }});
    }
    run_jobs(jobs, options_.jobs, turn_);
  }

  static std::set<std::string> spindles_of(const DeviceGraph& graph, const VolumePlan& volume) {
    // Should names have changed since a journal was written, it costs speed and nothing else.
    const auto at = graph.find(volume.path);
    return at ? graph.spindles_below(*at) : std::set<std::string>();
  }

  // One volume's failure keeps no other one from being encrypted; a stop does.
  template <typename F>
  void attempt(const VolumePlan& volume, F action) {
    try {
      action();
      report_.volume(volume, uuids_[volume.path], "done");
      done_.push_back(volume);
    } catch (const Error& error) {
      const bool paused = error.code() == Code::interrupted;
      report_.volume(volume, uuids_[volume.path], paused ? "paused" : "failed", error.what());
      audit_.record({.action = "enroll.finish",
                     .outcome = paused ? "paused" : "failed",
                     .volume = volume.path,
                     .detail = {{"error", error.what()}}});
      const bool everywhere = paused || error.code() == Code::no_tpm ||
                              error.code() == Code::tpm_failed || error.code() == Code::no_space;
      if (everywhere) throw;
      status_ = std::max(status_, report_error(error));
    }
  }

  // The machine, and the image files that are asked for or were begun.
  DeviceGraph take_graph() const {
    std::set<Path> images;
    const auto add = [&](const std::string& name) {
      if (is_image(name)) images.insert(std::filesystem::canonical(name));
    };
    for (const std::string& name : options_.volumes) add(name);
    for (const JournalEntry& entry : Journal(session_.options.state).unfinished())
      add(entry.plan.path);
    DeviceGraph graph = scan();
    for (const Path& image : images) {
      graph.devices.push_back(scan_image(image));
      if (const auto below = holder_of(graph, image))
        graph.devices.back().backing_device = graph[*below].name;
    }
    return graph;
  }

  static std::optional<DeviceIndex> holder_of(const DeviceGraph& graph, const Path& image) {
    struct stat info{};
    if (::stat(image.c_str(), &info) != 0) return std::nullopt;
    for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
      if (graph[at].major == major(info.st_dev) && graph[at].minor == minor(info.st_dev)) return at;
    }
    return std::nullopt;
  }

  // What can be seen beforehand to be missing stops all of it, before anything is unmounted.
  void require_place_for_recovery_keys(const Plan& plan) {
    bool wanted = false;
    for (const VolumePlan& volume : plan.volumes) {
      if (!is_work(volume.task)) continue;
      escrows_.require_ready(volume.group);
      if (!escrows_.keeps(volume.group)) wanted = true;
    }
    if (options_.recovery_key_dir) make_folder(*options_.recovery_key_dir);
    if (options_.page.folder) make_folder(*options_.page.folder);
    const bool filed = options_.recovery_key_dir || options_.page.folder;
    if (wanted && !filed && !can_ask()) {
      throw Error(Code::usage,
                  "enroll: nobody is there to take the recovery keys; give --recovery-key-dir");
    }
  }

  void hand_over(const VolumePlan& volume, const std::string& uuid, const Secret& key) {
    const bool filed = options_.recovery_key_dir || options_.page.folder;
    const bool nobody_asks = !filed && !can_ask();
    if (escrows_.keeps(volume.group) && (!escrows_.shows(volume.group) || nobody_asks)) {
      log::note("the recovery key of {} is in escrow, and nowhere else", escaped(volume.path));
      return;
    }
    if (!filed) {
      const Reading reading(report_);
      hand_over_on_terminal(volume.path, uuid, key);
    }
    if (options_.page.folder) {
      write_recovery_page(
          options_.page,
          {.volume = volume.path, .luks_uuid = uuid, .host = "", .date = "", .together_with = ""},
          key);
    }
    if (!options_.recovery_key_dir) return;
    // The key alone: usable as a key file as it is.
    const Path file =
        *options_.recovery_key_dir / fmt::format("{}-{}.recovery-key", volume.mapping, uuid);
    write_secret_file(file, key);
    log::note("the recovery key of {} is in {}; move it to a safe place off this machine",
              escaped(volume.path), file.native());
  }

  // The key that was given, the key file that crypttab names, the group's own secret, or a person.
  Secret open_with(const VolumePlan& volume, const Volume& header) {
    std::vector<Secret> candidates;
    if (options_.key_file) {
      // Standard input is read once, for all volumes.
      if (!given_) given_ = read_secret(*options_.key_file);
      candidates.push_back(given_->clone());
    } else {
      if (auto key = crypttab_key(volume.mapping)) candidates.push_back(std::move(*key));
      if (const auto found = find_group_token(header)) {
        candidates.push_back(
            group_passphrase(header, found->token, groups_.open(found->token.group).secret));
      }
    }
    for (Secret& candidate : candidates) {
      if (auto recovery = normalized_recovery_key(candidate)) candidate = std::move(*recovery);
      if (header.opens_with(candidate)) return std::move(candidate);
    }
    if (!options_.key_file) {
      const Reading reading(report_);
      if (auto typed = ask_secret(fmt::format("What opens {} now", escaped(volume.path)))) {
        if (auto recovery = normalized_recovery_key(*typed)) typed = std::move(recovery);
        if (header.opens_with(*typed)) return std::move(*typed);
      } else {
        throw Error(Code::usage, "open {}: there is no terminal to ask at; give --key-file",
                    volume.path);
      }
    }
    throw Error(Code::wrong_secret, "open {}: no keyslot opens with what was given", volume.path);
  }

  // As cryptsetup would read it; what a script or an offset would give is not looked for.
  static std::optional<Secret> crypttab_key(const std::string& mapping) {
    for (const CrypttabEntry& entry : load_crypttab("/etc/crypttab")) {
      const bool plain = entry.key.starts_with('/') && !entry.key.starts_with("/dev/") &&
                         entry.options.find("keyscript") == std::string::npos &&
                         entry.options.find("keyfile-") == std::string::npos;
      if (entry.name == mapping && plain && is_image(entry.key)) {
        return read_secret(entry.key, true);
      }
    }
    return std::nullopt;
  }

  EnrollWorld world() {
    return {
        .scan = [this] { return take_graph(); },
        .group = [this](const std::string& name) { return groups_.open(name); },
        .protector = &groups_.protector(),
        .open_with = [this](const VolumePlan& volume,
                            const Volume& header) { return open_with(volume, header); },
        .escrow = [this](const VolumePlan& volume, const std::string& uuid,
                         const Secret& key) -> std::optional<EscrowReceipt> {
          if (!escrows_.keeps(volume.group)) return std::nullopt;
          return escrows_.deposit(volume.group, volume.path, uuid, key);
        },
        .hand_over = [this](const VolumePlan& volume, const std::string& uuid,
                            const Secret& key) { hand_over(volume, uuid, key); },
        .ask_secret =
            [this](const VolumePlan& volume, const std::string& why) {
              const Reading reading(report_);
              print_err("volseal: {}: {}\n", escaped(volume.path), escaped(why));
              return ask_secret(fmt::format("Recovery key of {}", escaped(volume.path)));
            },
        .on_step = [this](const VolumePlan& volume,
                          const std::string& step) { report_.step(volume, step); },
        .progress =
            [this](const VolumePlan& volume, std::uint64_t done, std::uint64_t total) {
              report_.progress(volume, done, total);
              throttle_.pace(volume.path, done);
              return !stop_is_wanted();
            },
        .record =
            [this](const VolumePlan& volume, const std::string& uuid, const std::string& action,
                   const std::string& outcome) {
              if (!uuid.empty()) uuids_[volume.path] = uuid;
              audit_.record({.action = action,
                             .outcome = outcome,
                             .volume = volume.path,
                             .luks_uuid = uuid,
                             .group = volume.group,
                             .detail = {{"task", std::string(to_string(volume.task))},
                                        {"rule", volume.rule}}});
            },
        .turn = &turn_,
    };
  }

  const EnrollOptions& options_;
  const Session& session_;
  Policy policy_;
  Groups groups_;
  AuditLog audit_;
  Escrows escrows_;
  std::optional<Secret> given_;
  std::vector<VolumePlan> done_;
  std::map<std::string, std::string> uuids_;  // by path, as they become known
  EnrollReport report_;
  Throttle throttle_;
  std::mutex turn_;
  Executor executor_;
  int status_ = exit_status::good;
};

// Tells the run that is going on to stop at its next safe point, and waits until it has.
int pause(const Session& session) {
  const Path lock = session.options.state / "lock";
  const auto pid = FileLock::holder(lock);
  if (!pid) {
    print_out("no enrollment is going on\n");
    return exit_status::good;
  }
  const std::string command =
      read_file_if_any(fmt::format("/proc/{}/cmdline", *pid)).value_or("") + '\0';
  if (command.find(std::string("\0enroll\0", 8)) == std::string::npos) {
    throw Error(Code::busy, "pause: process {} is at work, and it is no enrollment", *pid);
  }
  if (::kill(*pid, SIGTERM) != 0) throw_errno(errno, "pause process {}", *pid);
  FileLock::wait_until_free(lock);
  print_out("paused; 'volseal enroll' goes on\n");
  return exit_status::good;
}

int enroll(const EnrollOptions& options, const Session& session) {
  if (::geteuid() != 0) throw Error(Code::denied, "enroll: only root can");
  if (options.pause) return pause(session);
  make_folder(session.options.state);
  const FileLock lock(session.options.state / "lock");
  stop_on_signals();
  return EnrollRun(options, session).all();
}

}  // namespace

void add_enroll(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "enroll", "encrypt what the policy wants encrypted; goes on after a power cut");
  auto options = std::make_shared<EnrollOptions>();
  auto limit = std::make_shared<std::string>();
  verb->add_option("VOLUME", options->volumes,
                   "only these devices or image files; else every volume of the plan");
  verb->add_flag("--unmount", options->unmount,
                 "unmount and swapoff what is in the way, and put it back afterwards");
  verb->add_flag("--offline", options->offline,
                 "keep a mounted volume out of use until all of its data is encrypted");
  verb->add_flag("--yes", options->yes, "do not ask whether to carry the plan out");
  verb->add_option("--recovery-key-dir", options->recovery_key_dir,
                   "write each recovery key to a file there instead of showing it at the terminal");
  add_page_options(*verb, options->page);
  add_escrow_fd(*verb, options->escrow_fd);
  verb->add_option("--key-file", options->key_file,
                   "what opens LUKS volumes that others have made; '-' is standard input")
      ->type_name("FILE");
  verb->add_option("--io-limit", *limit, "at most so much data a second, such as '50 MiB'")
      ->type_name("SIZE")
      ->check([](const std::string& text) {
        const auto bytes = parse_size(text);
        return bytes && *bytes > 0 ? std::string() : "'" + text + "' is no size such as 50 MiB";
      });
  verb->add_option("--jobs", options->jobs,
                   "volumes to work on at once, at most; never two on one rotating disk")
      ->type_name("N")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  verb->add_option("--progress", options->progress,
                   "text, or json: one JSON line an event on standard output")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->add_flag("--json", options->json, "the result as one JSON value")->excludes("--progress");
  verb->add_flag("--pause", options->pause,
                 "stop the enrollment that is going on at its next safe point; 'volseal enroll' "
                 "goes on");
  verb->callback([options, limit, &session] {
    if (!limit->empty()) options->io_limit = parse_size(*limit).value_or(0);
    session.status = enroll(*options, session);
  });
}

}  // namespace volseal
