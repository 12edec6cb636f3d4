// volseal drill: opens every keyslot without mapping anything, and remembers that it did.
#include "cli/attempt.h"
#include "cli/drills.h"
#include "cli/exit_status.h"
#include "cli/lock_trigger.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/discover/discover.h"
#include "core/luks/header.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/all_of.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct DrillOptions {
  std::vector<std::string> volumes;
  bool unattended = false;
  bool json = false;
  std::optional<int> keyslot;
  std::optional<Path> key_file;
  std::optional<Path> pin_file;
};

// How one way in did; without an attempt it was left out.
struct Drilled {
  Path volume;
  std::string luks_uuid;
  Way way;
  std::optional<Attempt> attempt;
  std::string left_out;  // why
};

// Those that need nobody first, then what is held, then what is typed.
int order_of(const Way& way) {
  if (!way.asks) return 0;
  if (way.kind == "fido2") return 1;
  return parse_parts(way.kind) ? 2 : 3;
}

std::vector<Path> volumes_of(const DrillOptions& options) {
  if (!options.volumes.empty()) return {options.volumes.begin(), options.volumes.end()};
  std::vector<Path> volumes;
  for (const Device& device : scan().devices) {
    if (device.luks && !device.luks->keyslots.empty()) volumes.emplace_back(device.path);
  }
  return volumes;
}

class DrillRun {
 public:
  DrillRun(const DrillOptions& options, const Options& global)
      : options_(options),
        global_(global),
        groups_(global, policy_),
        unlocker_(groups_.protector(), options.unattended ? AskPin() : groups_.ask_pin()),
        keys_(person_at_terminal(options.pin_file)),
        parts_(keys_, [this](const std::string& prompt) { return ask(prompt); }) {}

  int over(const std::vector<Path>& volumes) {
    for (const Path& volume : volumes) {
      try {
        one(volume);
      } catch (const Error& error) {
        // One broken disk keeps no other one from being tried.
        if (volumes.size() == 1) throw;
        print_err("volseal: {}\n", error.what());
        status_ = std::max(status_, exit_status::failed);
      }
    }
    report();
    return status_;
  }

  std::vector<Attempt> attempts() const {
    std::vector<Attempt> all;
    for (const Drilled& drilled : done_) {
      if (drilled.attempt) all.push_back(*drilled.attempt);
    }
    return all;
  }

 private:
  void one(const Path& volume) {
    const auto header = read_header(volume);
    if (!header) throw Error(Code::not_luks, "drill {}: it has no LUKS header", volume.native());
    std::vector<Way> ways = ways_in(*header);
    std::ranges::stable_sort(ways, {}, order_of);
    bool any = false;
    for (const Way& way : ways) {
      if (options_.keyslot && way.keyslot != *options_.keyslot) continue;
      any = true;
      if (options_.unattended && way.asks) continue;
      Drilled drilled{.volume = volume, .luks_uuid = header->uuid, .way = way};
      attempt(drilled);
      tell(drilled);
      done_.push_back(std::move(drilled));
    }
    if (!any && options_.keyslot) {
      throw Error(Code::not_found, "drill keyslot {} of {}: there is none", *options_.keyslot,
                  volume.native());
    }
  }

  void attempt(Drilled& drilled) {
    const UnlockTarget target{.device = drilled.volume, .mapping = ""};
    const Way& way = drilled.way;
    if (way.kind == "tpm") {
      drilled.attempt = unlocker_.by_group(target);
    } else if (way.kind == "fido2") {
      drilled.attempt = Unlocker::by_fido2(target, keys_, way.keyslot);
    } else if (parse_parts(way.kind)) {
      drilled.attempt = unlocker_.by_all_of(target, parts_, way.keyslot);
    } else if (way.asks) {
      by_typing(drilled, target);
    } else {
      drilled.left_out = "only the program that added it can try it";
    }
    // Nobody there, or the person has it not at hand: that says nothing of the way in.
    if (drilled.attempt && drilled.attempt->outcome == Outcome::needs_pin) {
      drilled.left_out = drilled.attempt->reason;
      drilled.attempt.reset();
    }
  }

  void by_typing(Drilled& drilled, const UnlockTarget& target) {
    const Way& way = drilled.way;
    const std::string prompt = fmt::format(
        "{} of {}, keyslot {}{} (empty: leave it out)",
        way.kind == "recovery-key" ? "Recovery key" : "Passphrase",
        escaped(drilled.volume.native()), way.keyslot, way.escrowed ? ", from escrow" : "");
    constexpr int most_tries = 3;
    for (int tries = 0; tries < (options_.key_file ? 1 : most_tries); ++tries) {
      const auto typed = ask(prompt);
      if (!typed || typed->empty()) {
        if (!drilled.attempt) {
          drilled.left_out = way.escrowed
                                 ? "nothing was given; 'volseal escrow verify' tries the escrow"
                                 : "nothing was given";
        }
        return;
      }
      drilled.attempt = Unlocker::by_secret(target, *typed, way.keyslot);
      if (drilled.attempt->outcome == Outcome::opened) return;
      if (tries + 1 < most_tries && !options_.key_file)
        print_err("volseal: that does not open it\n");
    }
  }

  std::optional<Secret> ask(const std::string& prompt) const {
    if (options_.key_file) return read_secret(*options_.key_file);
    return ask_secret(prompt);
  }

  void tell(const Drilled& drilled) {
    const std::string way = fmt::format("{} keyslot {} ({})", escaped(drilled.volume.native()),
                                        drilled.way.keyslot, escaped(drilled.way.kind));
    if (!drilled.attempt) {
      status_ = std::max(status_, exit_status::warnings);
      if (!options_.json) print_out(fmt::format("{}: left out: {}\n", way, drilled.left_out));
      return;
    }
    const Attempt& attempt = *drilled.attempt;
    record_drill(global_, "drill", drilled.volume, drilled.luks_uuid, drilled.way, attempt.outcome,
                 attempt.reason);
    status_ = std::max(status_, exit_status_for(attempt.outcome));
    if (options_.json) return;
    if (attempt.outcome == Outcome::opened) {
      print_out(fmt::format("{}: opens ({} ms)\n", way, attempt.took.count()));
    } else {
      print_out(fmt::format("{}: DOES NOT OPEN: {}: {}\n", way, to_string(attempt.outcome),
                            escaped(attempt.reason)));
    }
    for (const std::string& finding : attempt.findings)
      print_err("volseal: warning: {}: {}\n", escaped(drilled.volume.native()), escaped(finding));
  }

  static Json json_of(const Drilled& drilled) {
    const auto& attempt = drilled.attempt;
    return {{"volume", to_valid_utf8(drilled.volume.native())},
            {"luks_uuid", to_valid_utf8(drilled.luks_uuid)},
            {"keyslot", drilled.way.keyslot},
            {"kind", to_valid_utf8(drilled.way.kind)},
            {"factors", drilled.way.factors},
            {"outcome", attempt ? to_string(attempt->outcome) : "left-out"},
            {"reason", to_valid_utf8(attempt ? attempt->reason : drilled.left_out)},
            {"milliseconds", attempt ? Json(attempt->took.count()) : Json()}};
  }

  void report() {
    if (options_.json) {
      Json list = Json::array();
      for (const Drilled& drilled : done_) list.push_back(json_of(drilled));
      const Json json = {{"schema", "volseal-drill/1"},
                         {"person", to_valid_utf8(person_at_work())},
                         {"exit_status", status_},
                         {"drills", std::move(list)}};
      print_out(json.dump(1) + "\n");
      return;
    }
    const auto opened = std::ranges::count_if(done_, [](const Drilled& drilled) {
      return drilled.attempt && drilled.attempt->outcome == Outcome::opened;
    });
    print_out(fmt::format("{} of {} ways in opened\n", opened, done_.size()));
  }

  const DrillOptions& options_;
  const Options& global_;
  Policy policy_;  // the TPM needs none to unseal
  Groups groups_;
  Unlocker unlocker_;
  Fido2 keys_;
  AllOf parts_;
  std::vector<Drilled> done_;
  int status_ = exit_status::good;
};

int drill(const DrillOptions& options, const Options& global) {
  if ((options.keyslot || options.key_file) && options.volumes.size() != 1)
    throw Error(Code::usage, "drill: --keyslot and --key-file go with one volume");
  if (options.key_file && !options.keyslot)
    throw Error(Code::usage, "drill: --key-file is for one way in; say which with --keyslot");
  std::vector<Attempt> attempts;
  int status = exit_status::good;
  {
    DrillRun run(options, global);
    status = run.over(volumes_of(options));
    attempts = run.attempts();
  }
  follow_attempts(global, attempts);
  return status;
}

}  // namespace

void add_drill(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "drill", "open every keyslot without mapping anything, and remember who did and when");
  const auto options = std::make_shared<DrillOptions>();
  verb->add_option("VOLUME", options->volumes,
                   "devices or image files; all LUKS volumes by default");
  verb->add_flag("--unattended", options->unattended, "only the ways in that need nobody");
  verb->add_option("--keyslot", options->keyslot, "only this one, of one volume");
  verb->add_option("--key-file", options->key_file,
                   "with --keyslot: what would be typed, from a file; - for standard input");
  verb->add_option("--pin-file", options->pin_file,
                   "the FIDO2 key's PIN, from a file; - for standard input");
  verb->add_flag("--json", options->json, "as JSON");
  verb->footer(
      "Exit status: 0 all opened, 1 some were left out, 6 or 7 one does not open, 4 and 5 as "
      "elsewhere.");
  verb->callback([options, &session] { session.status = drill(*options, session.options); });
}

}  // namespace volseal
