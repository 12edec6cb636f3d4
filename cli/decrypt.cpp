// volseal decrypt: one volume back into the clear, in place.
#include "cli/decrypt_report.h"
#include "cli/exit_status.h"
#include "cli/graph.h"
#include "cli/hints.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/stop.h"
#include "cli/throttle.h"
#include "cli/verb.h"
#include "cli/way_in.h"
#include "cli/world.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/log.h"
#include "core/decrypt/decryption.h"
#include "core/discover/discover.h"
#include "core/enroll/journal.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

namespace {

struct DecryptOptions {
  std::string volume;  // "" goes on with what was cut off
  std::string despite_policy;
  bool unmount = false;
  bool yes = false;
  std::optional<Path> key_file;
  std::uint64_t io_limit = 0;  // bytes per second; 0: none
  std::string progress = "text";
  bool json = false;

  DecryptStyle style() const {
    if (json) return DecryptStyle::result;
    return progress == "json" ? DecryptStyle::events : DecryptStyle::text;
  }
};

std::string real_name(const std::string& name) {
  std::error_code none;
  const Path real = std::filesystem::canonical(name, none);
  return none ? name : real.native();
}

class DecryptRun {
 public:
  DecryptRun(const DecryptOptions& options, const Session& session)
      : options_(options),
        session_(session),
        policy_(load_policy(session.options.policy)),
        groups_(session.options, policy_),
        audit_(audit_log_of(session.options), "decrypt"),
        report_(options.style()),
        throttle_(options.io_limit),
        decryption_(policy_, {.state = session.options.state, .unmount = options.unmount},
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
    bool went_on = false;
    for (DecryptionEntry& entry : decryption_.journal().unfinished()) {
      if (!options_.volume.empty() && !is_of(entry)) continue;
      went_on = true;
      const DecryptionPlan plan = entry.plan;
      image_ = plan.path;
      log::note("going on with {}, which was cut off while {}", escaped(plan.path),
                to_string(entry.phase));
      attempt(plan, [&] { return decryption_.resume(std::move(entry)); });
    }
    if (went_on) return exit_status::good;
    if (options_.volume.empty()) {
      throw Error(Code::usage, "decrypt: name a volume; no decryption was cut off");
    }
    return begin();
  }

  int begin() {
    require_no_enrollment();
    image_ = real_name(options_.volume);
    const DeviceGraph graph = take_graph();
    const DecryptionPlan plan =
        plan_decryption(graph, policy_,
                        {.volume = graph.find(options_.volume) ? options_.volume : image_,
                         .despite_policy = options_.despite_policy,
                         .today = utc_now().substr(0, 10),
                         .unmount = options_.unmount,
                         .needed = needed()});
    report_.plan(plan);
    if (!plan.obstacles.empty()) {
      audit_.record({.action = "decrypt.start",
                     .outcome = "refused",
                     .volume = plan.path,
                     .luks_uuid = plan.luks_uuid,
                     .detail = {{"reason", plan.obstacles.front().what}}});
      report_.volume(plan, "refused", plan.obstacles.front().what, "");
      return exit_status::refused;
    }
    if (!options_.yes && !confirm("Decrypt it for ever?")) {
      throw Error(Code::usage, "decrypt: not confirmed; say --yes where there is no terminal");
    }
    attempt(plan, [&] { return decryption_.decrypt(plan); });
    return exit_status::good;
  }

  // Where this program keeps what it needs to go on.
  std::vector<std::string> needed() const {
    std::vector<std::string> paths = DecryptionOptions{}.needed;
    for (const Path& path :
         {session_.options.state, session_.options.policy, Path(policy_.header_backups)}) {
      paths.push_back(std::filesystem::weakly_canonical(path).native());
    }
    return paths;
  }

  // Two journals of one volume would be one too many.
  void require_no_enrollment() const {
    const auto unfinished = Journal(session_.options.state).unfinished();
    if (unfinished.empty()) return;
    throw Error(Code::unsafe,
                "decrypt: the enrollment of {} is unfinished; 'volseal enroll' goes on",
                escaped(unfinished.front().plan.path));
  }

  bool is_of(const DecryptionEntry& entry) const {
    const DecryptionPlan& plan = entry.plan;
    const std::vector<std::string> mappings = fstab_names(plan);
    const auto names_it = [&](const std::string& name) {
      return name == plan.path || name == "/dev/" + plan.name ||
             std::ranges::find(plan.links, name) != plan.links.end() ||
             std::ranges::find(mappings, name) != mappings.end();
    };
    return names_it(options_.volume) || names_it(real_name(options_.volume));
  }

  template <typename F>
  void attempt(const DecryptionPlan& plan, F action) {
    try {
      const Path backup = action();
      report_.volume(plan, "done", "", backup.native());
    } catch (const Error& error) {
      const bool paused = error.code() == Code::interrupted;
      report_.volume(plan, paused ? "paused" : "failed", error.what(), "");
      audit_.record({.action = "decrypt.finish",
                     .outcome = paused ? "paused" : "failed",
                     .volume = plan.path,
                     .luks_uuid = plan.luks_uuid,
                     .detail = {{"error", error.what()}}});
      throw;
    }
  }

  // The machine, and the image file if that is what is decrypted.
  DeviceGraph take_graph() const {
    DeviceGraph graph = scan();
    if (is_image(image_)) graph.devices.push_back(scan_image(image_));
    return graph;
  }

  // The key that was given, the key file that crypttab names, the group's own secret, or a person.
  Secret open_with(const DecryptionPlan& plan, const Volume& header) {
    refuse_locked(header);
    const auto opens = [&](Secret& secret) {
      if (header.opens_with(secret)) return true;
      auto recovery = normalized_recovery_key(secret);
      if (!recovery || !header.opens_with(*recovery)) return false;
      secret = std::move(*recovery);
      return true;
    };
    // A person is asked once, and standard input is read once.
    if (!given_ && options_.key_file) given_ = read_secret(*options_.key_file);
    if (given_) {
      if (opens(*given_)) return given_->clone();
      throw Error(Code::wrong_secret, "open {}: no keyslot opens with what was given", plan.path);
    }
    if (auto key = crypttab_key(plan); key && opens(*key)) return std::move(*key);
    std::string why = "it has no TPM protector";
    if (const auto found = find_group_token(header)) {
      try {
        Secret secret =
            group_passphrase(header, found->token, groups_.open(found->token.group).secret);
        if (opens(secret)) return secret;
        why = "the TPM's secret does not open it";
      } catch (const Error& error) {
        const bool tpm = error.code() == Code::no_tpm || error.code() == Code::tpm_failed ||
                         error.code() == Code::tpm_refused;
        if (!tpm) throw;
        why = error.what();
      }
    }
    report_.interrupt();
    print_err("volseal: {}: {}\n", escaped(plan.path), escaped(why));
    given_ = ask_secret(fmt::format("What opens {}", escaped(plan.path)));
    if (!given_) {
      throw Error(Code::usage, "open {}: there is no terminal to ask at; give --key-file",
                  plan.path);
    }
    if (opens(*given_)) return given_->clone();
    throw Error(Code::wrong_secret, "open {}: no keyslot opens with what was given", plan.path);
  }

  // As cryptsetup would read it; what a script or an offset would give is not looked for.
  static std::optional<Secret> crypttab_key(const DecryptionPlan& plan) {
    if (!plan.crypttab) return std::nullopt;
    const CrypttabEntry& line = *plan.crypttab;
    const bool plain = line.key.starts_with('/') && !line.key.starts_with("/dev/") &&
                       line.options.find("keyscript") == std::string::npos &&
                       line.options.find("keyfile-") == std::string::npos;
    if (!plain || !is_image(line.key)) return std::nullopt;
    return read_secret(line.key, true);
  }

  DecryptionWorld world() {
    return {
        .scan = [this] { return take_graph(); },
        .open_with = [this](const DecryptionPlan& plan,
                            const Volume& header) { return open_with(plan, header); },
        .on_step = [this](const DecryptionPlan& plan,
                          const std::string& step) { report_.step(plan, step); },
        .progress =
            [this](std::uint64_t done, std::uint64_t total) {
              report_.progress(done, total);
              throttle_.pace("", done);
              return !stop_is_wanted();
            },
        .record =
            [this](const DecryptionPlan& plan, const std::string& action,
                   const std::string& outcome) {
              audit_.record({.action = action,
                             .outcome = outcome,
                             .volume = plan.path,
                             .luks_uuid = plan.luks_uuid,
                             .detail = {{"rule", plan.rule}, {"despite_policy", plan.reason}}});
            },
    };
  }

  const DecryptOptions& options_;
  const Session& session_;
  Policy policy_;
  Groups groups_;
  AuditLog audit_;
  std::optional<Secret> given_;
  std::string image_;
  DecryptReport report_;
  Throttle throttle_;
  Decryption decryption_;
};

int decrypt(const DecryptOptions& options, const Session& session) {
  if (::geteuid() != 0) throw Error(Code::denied, "decrypt: only root can");
  make_folder(session.options.state);
  const FileLock lock(session.options.state / "lock");
  stop_on_signals();
  return DecryptRun(options, session).all();
}

}  // namespace

void add_decrypt(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "decrypt", "take the encryption off a volume, in place; goes on after a power cut");
  auto options = std::make_shared<DecryptOptions>();
  auto limit = std::make_shared<std::string>();
  verb->add_option("VOLUME", options->volume,
                   "a LUKS2 volume, device or image file; none: what was cut off goes on");
  verb->add_flag("--unmount", options->unmount,
                 "unmount and swapoff what is in the way, and put it back afterwards");
  verb->add_flag("--yes", options->yes, "do not ask whether to carry the plan out");
  verb->add_option("--despite-policy", options->despite_policy,
                   "why, where no rule of the policy exempts the volume; it is logged")
      ->type_name("REASON");
  verb->add_option("--key-file", options->key_file,
                   "what opens it, where the TPM does not; '-' is standard input")
      ->type_name("FILE");
  verb->add_option("--io-limit", *limit, "at most so much data a second, such as '50 MiB'")
      ->type_name("SIZE")
      ->check([](const std::string& text) {
        const auto bytes = parse_size(text);
        return bytes && *bytes > 0 ? std::string() : "'" + text + "' is no size such as 50 MiB";
      });
  verb->add_option("--progress", options->progress,
                   "text, or json: one JSON line an event on standard output")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->add_flag("--json", options->json, "the plan and the result as one JSON value")
      ->excludes("--progress");
  verb->footer(
      "Its data then can be read by whoever has the disk. SIGTERM and Ctrl-C stop it at the next "
      "safe point;\nuntil it is done, only 'volseal decrypt' goes on, and the volume cannot be "
      "opened, at boot neither.");
  verb->callback([options, limit, &session] {
    if (!limit->empty()) options->io_limit = parse_size(*limit).value_or(0);
    session.status = decrypt(*options, session);
  });
}

}  // namespace volseal
