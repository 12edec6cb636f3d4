// volseal tpm: what the TPM releases a group's secret to, and why it does not.
#include "cli/exit_status.h"
#include "cli/group_tokens.h"
#include "cli/prompt.h"
#include "cli/tpm_text.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/audit/audit.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/lock/record.h"
#include "tpm/approval.h"
#include "tpm/connection.h"
#include "tpm/pcr.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

namespace {

struct TpmOptions {
  std::string group;
  bool json = false;
  bool allow_unmeasured = false;
  bool drop_oldest = false;
  std::string pin_change;
  std::optional<Path> pin_file;
  std::optional<Path> new_pin_file;
  std::vector<Path> volumes;
};

std::vector<std::string> chosen_groups(const TpmOptions& options, const Session& session) {
  if (!options.group.empty()) return {options.group};
  std::vector<std::string> groups = tpm::groups_in(session.options.state);
  if (groups.empty()) {
    throw Error(Code::not_found, "find the groups of this machine: there is none in {}",
                (session.options.state / "groups").native());
  }
  return groups;
}

// What only looks, and the latch, go on; what a person would change waits for 'volseal recover'.
std::vector<std::string> changed_groups(const TpmOptions& options, const Session& session,
                                        std::string_view doing) {
  std::vector<std::string> groups = chosen_groups(options, session);
  for (const std::string& group : groups)
    refuse_locked(session.options.state, group,
                  fmt::format("{} for group {}", doing, escaped(group)));
  return groups;
}

void record(const Session& session, const std::string& action, const std::string& group,
            const std::string& outcome) {
  AuditLog(audit_log_of(session.options), "tpm")
      .record({.action = action, .outcome = outcome, .group = group});
}

[[noreturn]] void throw_unsynced(const std::string& doing, const std::string& group) {
  throw Error(
      Code::unsafe,
      "{} for group {}: not every volume has the new approval, so the old ones stay valid; see to "
      "the volumes above, then run 'volseal tpm revoke --group {}'",
      doing, group, group);
}

void status(const TpmOptions& options, Session& session) {
  tpm::Connection connection = tpm::Connection::connect(session.options.tcti);
  std::vector<tpm::GroupStatus> all;
  for (const std::string& group : chosen_groups(options, session)) {
    all.push_back(tpm::group_status(connection, tpm::GroupState(session.options.state, group)));
  }
  print_status(all, options.json, session.options);
  const bool good = std::ranges::all_of(all, [](const tpm::GroupStatus& group) {
    return group.our_tpm && group.current_approved && group.counter && !group.revocation_pending &&
           !group.revoked && group.policy_key_there && !group.dictionary_attack.locked_out;
  });
  session.status = good ? exit_status::good : exit_status::warnings;
}

void explain(const TpmOptions& options, Session& session) {
  tpm::Connection connection = tpm::Connection::connect(session.options.tcti);
  std::vector<ExplainedGroup> all;
  for (const std::string& group : chosen_groups(options, session)) {
    const tpm::GroupState state(session.options.state, group);
    const tpm::SealedGroup sealed = tpm::load_group(state);
    all.push_back(
        {.group = group,
         .latch = sealed.latch,
         .explanation = tpm::explain(connection, sealed, tpm::approved_event_log(state))});
  }
  print_explanations(all, options.json, session.options);
  const bool good = std::ranges::all_of(all, [](const ExplainedGroup& explained) {
    return explained.explanation.differences.empty();
  });
  session.status = good ? exit_status::good : exit_status::warnings;
}

void approve(const TpmOptions& options, const Session& session) {
  bool good = true;
  for (const std::string& group : changed_groups(options, session, "approve this boot")) {
    good &= approve_boot(
        session.options, group, options.volumes,
        {.allow_unmeasured = options.allow_unmeasured, .drop_oldest = options.drop_oldest});
  }
  if (!good) {
    throw Error(Code::io,
                "approve this boot: not every volume has the new approval; 'volseal tpm approve' "
                "again once they can be written");
  }
}

// Second phase of what begin_revocation() or begin_pin_change() began.
void finish(const TpmOptions& options, const Session& session, const std::string& doing,
            const std::string& group, const std::string& sealed) {
  if (!sync_group(group, options.volumes, sealed)) throw_unsynced(doing, group);
  tpm::Connection connection = tpm::Connection::connect(session.options.tcti);
  tpm::finish_revocation(connection, tpm::GroupState(session.options.state, group));
}

void revoke(const TpmOptions& options, const Session& session) {
  for (const std::string& group : changed_groups(options, session, "revoke old approvals")) {
    record(session, "tpm.revoke", group, std::string(audit_started));
    std::string sealed;
    {
      tpm::Connection connection = tpm::Connection::connect(session.options.tcti);
      sealed = tpm::begin_revocation(connection, tpm::GroupState(session.options.state, group));
    }
    finish(options, session, "revoke old approvals", group, sealed);
    record(session, "tpm.revoke", group, "ok");
    log::note("{}: only this boot's measurements are approved now",
              named_group(session.options, group));
  }
}

void change_pin(const TpmOptions& options, const Session& session) {
  const std::vector<std::string> groups = changed_groups(options, session, "change the PIN");
  if (groups.size() != 1) {
    throw Error(Code::usage, "change the PIN: there are {} groups; name one with --group",
                groups.size());
  }
  const std::string& group = groups.front();
  const tpm::GroupState state(session.options.state, group);
  const bool has_pin = tpm::load_group(state).pin.has_value();
  if (options.pin_change == "set" && has_pin) {
    throw Error(Code::usage, "set a PIN for group {}: it has one ('volseal tpm pin change')",
                group);
  }
  if (options.pin_change != "set" && !has_pin) {
    throw Error(Code::usage, "{} the PIN of group {}: it has none", options.pin_change, group);
  }
  std::optional<Secret> pin;
  if (options.pin_change != "remove") {
    pin = options.new_pin_file ? read_secret(*options.new_pin_file) : ask_new_secret("PIN");
  }
  AskPin ask_old = pin_from_terminal(session.options);
  if (options.pin_file) {
    ask_old = [&](const std::string&) { return std::optional(read_secret(*options.pin_file)); };
  }
  record(session, "tpm.pin." + options.pin_change, group, std::string(audit_started));
  std::string sealed;
  {
    tpm::Connection connection = tpm::Connection::connect(session.options.tcti);
    sealed = tpm::begin_pin_change(
        connection, state, {.pin = pin ? &*pin : nullptr, .ask_old_pin = std::move(ask_old)});
  }
  finish(options, session, options.pin_change + " the PIN", group, sealed);
  record(session, "tpm.pin." + options.pin_change, group, "ok");
  log::note("{}: {}", named_group(session.options, group),
            pin ? "from the next boot on the TPM wants this PIN" : "the TPM wants no PIN any more");
}

// For a volume that was away while its group changed.
void sync_only(const TpmOptions& options, const Session& session) {
  for (const std::string& group : changed_groups(options, session, "write approvals")) {
    const auto sealed = tpm::GroupState(session.options.state, group).sealed();
    if (sealed && !sync_group(group, options.volumes, *sealed)) {
      throw Error(Code::io, "bring the tokens of group {} up to date", group);
    }
  }
}

// For a TPM that was replaced or cleared: what it sealed is lost, and the group begins anew with
// the next volume that is enrolled.
void forget(const TpmOptions& options, const Session& session) {
  const std::vector<std::string> groups =
      changed_groups(options, session, "forget what was sealed");
  if (groups.size() != 1) {
    throw Error(Code::usage, "forget a group: there are {}; name one with --group", groups.size());
  }
  const tpm::GroupState state(session.options.state, groups.front());
  tpm::Connection connection = tpm::Connection::connect(session.options.tcti);
  if (tpm::group_status(connection, state).our_tpm) {
    throw Error(Code::unsafe, "forget group {}: this TPM sealed it and may still open its volumes",
                groups.front());
  }
  record(session, "tpm.forget", groups.front(), std::string(audit_started));
  const Path kept = state.set_aside();
  record(session, "tpm.forget", groups.front(), "ok");
  log::note("{} is forgotten; what there was is in {}",
            named_group(session.options, groups.front()), kept.native());
}

void latch(const TpmOptions& options, const Session& session) {
  tpm::Connection connection = tpm::Connection::connect(session.options.tcti);
  std::vector<int> closed;
  for (const std::string& group : chosen_groups(options, session)) {
    const int pcr = tpm::load_group(tpm::GroupState(session.options.state, group)).latch;
    if (std::ranges::find(closed, pcr) != closed.end()) continue;
    tpm::extend_latch(connection, pcr);
    closed.push_back(pcr);
  }
}

}  // namespace

void add_tpm(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("tpm", "what the TPM opens for: approve, revoke, explain, PIN");
  verb->require_subcommand(1);
  auto options = std::make_shared<TpmOptions>();
  const auto sub = [&](const char* name, const char* what) {
    CLI::App* made = verb->add_subcommand(name, what);
    made->add_option("--group", options->group, "only this group; else all that this machine has");
    return made;
  };
  const auto volumes = [&](CLI::App* made) {
    made->add_option("VOLUME", options->volumes,
                     "volumes to update besides those that are found, such as image files");
  };

  CLI::App* status_verb = sub("status", "approvals, PIN, wrong tries, latch, revocation counter");
  status_verb->add_flag("--json", options->json, "as JSON");
  status_verb->callback([options, &session] { status(*options, session); });

  CLI::App* explain_verb = sub("explain", "which measurement is not as approved, and what changed");
  explain_verb->add_flag("--json", options->json, "as JSON");
  explain_verb->callback([options, &session] { explain(*options, session); });

  CLI::App* approve_verb = sub("approve", "let the TPM open for boots like this one");
  approve_verb->add_flag("--allow-unmeasured", options->allow_unmeasured,
                         "also PCRs that nothing was measured into");
  approve_verb->add_flag("--drop-oldest", options->drop_oldest,
                         "where eight states are approved, forget the oldest");
  volumes(approve_verb);
  approve_verb->callback([options, &session] { approve(*options, session); });

  CLI::App* revoke_verb = sub("revoke", "from now on only for boots like this one");
  volumes(revoke_verb);
  revoke_verb->callback([options, &session] { revoke(*options, session); });

  CLI::App* pin_verb = sub("pin", "set, change or remove the PIN that the TPM wants at boot");
  pin_verb->add_option("CHANGE", options->pin_change, "set, change or remove")
      ->required()
      ->check(CLI::IsMember({"set", "change", "remove"}));
  pin_verb->add_option("--pin-file", options->pin_file,
                       "the PIN that holds now; - for standard input");
  pin_verb->add_option("--new-pin-file", options->new_pin_file,
                       "the new PIN; - for standard input");
  volumes(pin_verb);
  pin_verb->callback([options, &session] { change_pin(*options, session); });

  CLI::App* sync_verb = sub("sync", "write the group's approvals into volumes that were away");
  volumes(sync_verb);
  sync_verb->callback([options, &session] { sync_only(*options, session); });

  CLI::App* forget_verb = sub("forget", "a group that a replaced or cleared TPM had sealed");
  forget_verb->callback([options, &session] { forget(*options, session); });

  CLI::App* latch_verb = sub("latch", "no unsealing any more until the next boot");
  latch_verb->callback([options, &session] { latch(*options, session); });
}

}  // namespace volseal
