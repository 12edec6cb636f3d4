// volseal unlock: opens volumes, by TPM first.
#include "cli/attempt.h"
#include "cli/boot_log.h"
#include "cli/crypttab_source.h"
#include "cli/exit_status.h"
#include "cli/lock_note.h"
#include "cli/lock_trigger.h"
#include "cli/operator_ask.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/unlock_target.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/discover/discover.h"
#include "core/tables/tables.h"
#include "core/unlock/all_of.h"
#include "core/unlock/attempt_json.h"
#include "core/unlock/boot_list.h"
#include "core/unlock/parallel.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct UnlockOptions {
  bool all = false;
  bool listed = false;
  bool test = false;
  bool json = false;
  std::vector<std::string> volumes;
  std::string name;
  std::optional<Path> key_file;
};

// Every line of crypttab whose volume is there and has a TPM token of ours.
std::vector<UnlockTarget> targets_of_crypttab(const DeviceGraph& graph) {
  std::vector<UnlockTarget> targets;
  for (const CrypttabEntry& entry : graph.crypttab) {
    const auto device = std::ranges::find_if(graph.devices, [&](const Device& candidate) {
      return has_group_token(candidate) && is_source_of(entry.source, candidate);
    });
    if (device == graph.devices.end()) continue;
    targets.push_back({.device = device->path,
                       .mapping = entry.name,
                       .options = activate_options(entry.options)});
  }
  for (const Device& device : graph.devices) {
    const bool listed = std::ranges::any_of(
        targets, [&](const UnlockTarget& target) { return target.device == device.path; });
    if (has_group_token(device) && !listed) {
      log::warning("{} is enrolled, but no line of crypttab names it; it stays locked",
                   escaped(device.path));
    }
  }
  return targets;
}

UnlockTarget target_of(const std::string& volume, const UnlockOptions& options) {
  if (options.test) return {.device = volume, .mapping = ""};
  return unlock_target(volume, options.name);
}

class UnlockRun {
 public:
  UnlockRun(const UnlockOptions& options, const Session& session)
      : options_(options),
        state_(session.options.state),
        everywhere_(session.options),
        protectors_(session.options, policy_),
        unlocker_(protectors_.protector(), protectors_.ask_pin()),
        keys_(person_at_terminal()),
        parts_(keys_, [](const std::string& prompt) { return ask_secret(prompt); }),
        audit_(audit_log_of(session.options), "unlock") {}

  int over(const std::vector<UnlockTarget>& targets) {
    int status = exit_status::good;
    if (asked_by_person()) {
      for (const UnlockTarget& target : targets) announce(target);
    }
    if (targets.size() > 1 && !options_.key_file) open_together(targets);
    for (const UnlockTarget& target : targets) {
      try {
        status = std::max(status, one(target));
      } catch (const Error& error) {
        settle(target, "failed", error.what());
        // One broken disk keeps no other one locked.
        if (targets.size() == 1) throw;
        print_err("volseal: {}\n", error.what());
        status = std::max(status, exit_status::failed);
      }
    }
    if (options_.json) {
      const Json json = {{"schema", "volseal-unlock/1"}, {"attempts", attempts_}};
      print_out(json.dump(1) + "\n");
    } else if (targets.empty()) {
      print_out("nothing to unlock: no line of crypttab names an enrolled volume that is there\n");
    }
    return status;
  }

  const std::vector<Attempt>& told() const { return told_; }

 private:
  static bool is_open(const UnlockTarget& target) {
    return !target.mapping.empty() &&
           is_mapping_of(target.mapping, Volume::load(target.device).uuid());
  }

  bool asked_by_person() const { return !options_.all && !options_.listed && !options_.test; }

  // What a person asks for is recorded before it is done, or, where the log's disk is full, not
  // done. A boot is not kept from its volumes by that.
  void announce(const UnlockTarget& target) const {
    try {
      note(target, std::string(audit_started), {});
    } catch (const Error& error) {
      if (error.code() == Code::no_space) throw;
      log::warning("{} is unlocked without a line in the log: {}", escaped(target.device.native()),
                   error.what());
    }
  }

  // What announce() began without an attempt to tell of.
  void settle(const UnlockTarget& target, const std::string& outcome,
              const std::string& why) const {
    if (!asked_by_person()) return;
    try {
      note(target, outcome, why);
    } catch (const Error& error) {
      log::warning("the log does not say how that ended: {}", error.what());
    }
  }

  void note(const UnlockTarget& target, const std::string& outcome, const std::string& why) const {
    audit_.record({.action = "unlock",
                   .outcome = outcome,
                   .volume = target.device.native(),
                   .luks_uuid = "",
                   .group = "",
                   .detail = {{"mapping", target.mapping}, {"reason", why}}});
  }

  // What is locked down opens by no way but recover's, key files and people included.
  std::optional<Attempt> locked(const UnlockTarget& target) const {
    const Volume volume = Volume::load(target.device);
    const auto lock = lock_of(state_, volume);
    if (!lock) return std::nullopt;
    return Attempt{.device = target.device,
                   .mapping = target.mapping,
                   .luks_uuid = volume.uuid(),
                   .group = lock->group,
                   .protector = "tpm",
                   .outcome = Outcome::revoked,
                   .reason = to_text(*lock),
                   .keyslot = {},
                   .findings = {}};
  }

  // By TPM, several at once. What cannot even be looked at has no attempt here; one() says why.
  void open_together(const std::vector<UnlockTarget>& targets) {
    std::vector<CheckedVolume> checked;
    for (const UnlockTarget& target : targets) {
      try {
        if (!is_open(target)) checked.push_back(unlocker_.check(target));
      } catch (const Error&) {
        continue;
      }
    }
    Settling settling;
    for (Attempt& attempt : open_in_parallel(checked, settling))
      opened_.emplace(attempt.device, std::move(attempt));
    settling.wait();
  }

  int one(const UnlockTarget& target) {
    const auto together = opened_.find(target.device);
    if (together == opened_.end() && is_open(target)) {
      settle(target, "ok", "it is open already");
      if (!options_.json)
        print_out(
            fmt::format("{} is open as {}\n", escaped(target.device.native()), target.mapping));
      return exit_status::good;
    }
    if (auto refused = locked(target)) {
      tell(*refused);
      return exit_status_for(refused->outcome);
    }
    Attempt attempt = options_.key_file
                          ? Unlocker::by_secret(target, read_secret(*options_.key_file))
                      : together != opened_.end() ? together->second
                                                  : unlocker_.by_group(target);
    tell(attempt);
    // A person at a terminal gets to help; a script gets the status.
    const bool may_ask =
        !options_.key_file && !options_.json && !options_.listed && can_ask() && may_go_on(attempt);
    if (may_ask) ask_person(target, attempt);
    if (!options_.test) offer_replacement(attempt);
    return exit_status_for(attempt.outcome);
  }

  // The FIDO2 key first, if one is plugged in: two factors, and nothing to copy from paper; then
  // what takes several parts. For all volumes at once nobody is asked to type what opens alone.
  void ask_person(const UnlockTarget& target, Attempt& attempt) {
    const Volume volume = Volume::load(target.device);
    const bool has_fido2 = !find_fido2_tokens(volume).empty();
    const std::vector<AllOfToken> all_of = find_all_of_tokens(volume);
    if (has_fido2 && Fido2::is_plugged_in()) by_fido2(target, attempt);
    by_parts(target, all_of, attempt, Fido2::is_plugged_in());
    const bool wants_key = has_fido2 || std::ranges::any_of(all_of, [](const AllOfToken& token) {
                             return token.fido2.has_value();
                           });
    const bool more = wants_key || !all_of.empty();
    const std::string_view other = wants_key ? " (or plug in the FIDO2 key and press Enter)"
                                   : more    ? " (or press Enter to give the parts once more)"
                                             : "";
    const auto token = find_group_token(volume);
    const std::string name =
        named_volume(everywhere_, target.device, token ? token->token.group : "");
    for (int tries = 0; !options_.all && tries < 3 && may_go_on(attempt); ++tries) {
      const auto typed = ask_secret(fmt::format("Recovery key or passphrase of {}{}", name, other));
      if (!typed || (typed->empty() && !more)) break;
      if (typed->empty()) {
        if (has_fido2) by_fido2(target, attempt);
        by_parts(target, all_of, attempt, true);
        continue;
      }
      attempt = Unlocker::by_secret(target, *typed);
      tell(attempt);
    }
  }

  // A key that was typed is known to one more camera, clipboard or person. Nothing is done by
  // itself.
  void offer_replacement(const Attempt& attempt) const {
    const bool used = attempt.protector.find("recovery-key") != std::string::npos;
    if (attempt.outcome != Outcome::opened || !used || options_.json) return;
    print_err(
        "volseal: the recovery key was used: 'volseal recover --replace {}' makes a new one\n",
        escaped(attempt.device.native()));
  }

  // What looks tampered with is not offered for typing.
  static bool may_go_on(const Attempt& attempt) {
    return attempt.outcome != Outcome::opened && attempt.outcome != Outcome::tampered;
  }

  void by_fido2(const UnlockTarget& target, Attempt& attempt) {
    attempt = Unlocker::by_fido2(target, keys_);
    tell(attempt);
  }

  void by_parts(const UnlockTarget& target, const std::vector<AllOfToken>& tokens, Attempt& attempt,
                bool has_key) {
    for (const AllOfToken& token : tokens) {
      if (!may_go_on(attempt)) return;
      if (token.fido2 && !has_key) continue;
      attempt = unlocker_.by_all_of(target, parts_, token.keyslots.front());
      tell(attempt);
    }
  }

  void tell(const Attempt& attempt) {
    told_.push_back(attempt);
    log_attempt(attempt);
    const Group group = known_group(everywhere_, attempt.group);
    if (options_.json) {
      attempts_.push_back(json_of(attempt));
      attempts_.back()["tenant"] = to_valid_utf8(group.tenant);
      attempts_.back()["environment"] = to_valid_utf8(group.environment);
    } else {
      const std::string owner = owner_words(group.tenant, group.environment);
      const std::string what =
          attempt.mapping.empty() ? "opens" : fmt::format("opened as {}", attempt.mapping);
      report_attempt(attempt, owner.empty() ? what : fmt::format("of {} {}", owner, what));
    }
  }

  // Early in boot the log's file system may still be read-only: a volume is not kept shut for that.
  void log_attempt(const Attempt& attempt) {
    try {
      record(attempt);
    } catch (const Error& error) {
      log::warning("the attempt on {} is not in the log: {}", escaped(attempt.device.native()),
                   error.what());
    }
  }

  void record(const Attempt& attempt) const {
    audit_.record({.action = options_.test ? "unlock.test" : "unlock",
                   .outcome = std::string(to_string(attempt.outcome)),
                   .volume = attempt.device.native(),
                   .luks_uuid = attempt.luks_uuid,
                   .group = attempt.group,
                   .detail = {{"protector", attempt.protector},
                              {"mapping", attempt.mapping},
                              {"reason", attempt.reason},
                              {"milliseconds", std::to_string(attempt.took.count())}}});
  }

  const UnlockOptions& options_;
  Path state_;
  const Options& everywhere_;
  Policy policy_;  // the TPM needs none to unseal
  Groups protectors_;
  Unlocker unlocker_;
  Fido2 keys_;   // one touch for all volumes that share a credential
  AllOf parts_;  // and one line typed
  AuditLog audit_;
  std::map<Path, Attempt> opened_;  // by open_together()
  std::vector<Attempt> told_;
  Json attempts_ = Json::array();
};

// What the policy wants done about the attempts comes once nobody here holds the TPM any more.
int open_all(const std::vector<UnlockTarget>& targets, const UnlockOptions& options,
             const Session& session) {
  std::vector<Attempt> attempts;
  int status = exit_status::good;
  {
    UnlockRun run(options, session);
    status = run.over(targets);
    attempts = run.told();
  }
  follow_attempts(session.options, attempts);
  return status;
}

// For a disk that was just plugged in: udev knows that it is LUKS, and nothing else. What is not
// enrolled, not in crypttab, or there for others to open, is none of ours, and no failure.
int unlock_listed(const UnlockOptions& options, const Session& session) {
  std::vector<UnlockTarget> targets;
  const std::vector<CrypttabEntry> crypttab = load_crypttab("/etc/crypttab");
  for (const std::string& path : options.volumes) {
    const Volume volume = Volume::load(path);
    if (!find_group_token(volume)) continue;
    for (const CrypttabEntry& entry : crypttab) {
      if (uuid_in(entry.source) != volume.uuid() && entry.source != path) continue;
      if (has_option(entry.options, "noauto")) continue;
      targets.push_back(
          {.device = path, .mapping = entry.name, .options = activate_options(entry.options)});
    }
  }
  return targets.empty() ? exit_status::good : open_all(targets, options, session);
}

// Who is not root asks who is, where there is a socket for that.
std::optional<int> asked_of_root(const UnlockOptions& options) {
  const bool plain = !options.all && !options.test && !options.key_file && options.name.empty();
  if (::geteuid() == 0 || !plain || options.volumes.size() != 1) return std::nullopt;
  return ask_to_unlock(options.volumes.front(), options.json);
}

int unlock(const UnlockOptions& options, const Session& session) {
  if (options.all == !options.volumes.empty()) {
    throw Error(Code::usage, "unlock: name a volume, or say --all");
  }
  if (!options.name.empty() && options.volumes.size() != 1) {
    throw Error(Code::usage, "unlock: --name goes with one volume");
  }
  if (options.listed) return unlock_listed(options, session);
  if (const auto status = asked_of_root(options)) return *status;
  std::vector<UnlockTarget> targets;
  if (options.all) {
    log_boot(session);
    targets = targets_of_crypttab(scan());
    if (options.test) {
      for (UnlockTarget& target : targets) target.mapping.clear();
    }
  } else {
    for (const std::string& volume : options.volumes) {
      if (!options.test && std::filesystem::exists(volume) && !is_block_device(volume)) {
        throw Error(Code::usage,
                    "unlock {}: it is no block device; --test opens the keyslot without mapping",
                    volume);
      }
      targets.push_back(target_of(volume, options));
    }
  }
  return open_all(targets, options, session);
}

}  // namespace

void add_unlock(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("unlock", "open volumes: by TPM, else by what a person knows");
  auto options = std::make_shared<UnlockOptions>();
  verb->add_flag("--all", options->all, "every enrolled volume that crypttab names");
  verb->add_flag("--listed", options->listed,
                 "for the disk that udev announces: open it if it is enrolled and crypttab has it");
  verb->add_flag("--test", options->test, "open the keyslot, map nothing");
  verb->add_flag("--json", options->json, "as JSON; asks nothing");
  verb->add_option("--name", options->name,
                   "name under /dev/mapper; else crypttab's, else luks-UUID");
  verb->add_option("--key-file", options->key_file,
                   "recovery key or passphrase from a file; - for standard input");
  verb->add_option("VOLUME", options->volumes, "block devices; image files with --test");
  verb->callback([options, &session] { session.status = unlock(*options, session); });
}

}  // namespace volseal
