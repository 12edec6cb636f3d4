#include "cli/tpm_text.h"

#include "cli/output.h"
#include "cli/world.h"
#include "core/base/escape.h"
#include "core/base/human.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

std::string time_text(std::int64_t seconds) {
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

std::string wrong_pins_text(const tpm::DictionaryAttackState& state) {
  if (state.locked_out) {
    return fmt::format("locked out after {}; the next try is possible in {} at most",
                       state.failures, human_duration(state.until_next_try));
  }
  return fmt::format("{} counted, {} tries left; one is forgotten every {}", state.failures,
                     state.tries_left, human_duration(state.forgets_one_every));
}

std::string lockout_text(const tpm::DictionaryAttackState& state) {
  if (state.lockout_auth_set) return "set: only who knows it resets the count of wrong PINs";
  return "empty: who starts another system on this machine can reset the count of wrong PINs "
         "(tpm2_changeauth -c lockout sets one)";
}

std::string counter_text(const tpm::GroupStatus& status) {
  if (!status.counter) return "gone from the TPM: nothing opens; enroll the group anew";
  if (status.revocation_pending) {
    return "a revocation or PIN change was begun and not finished; 'volseal tpm revoke' finishes "
           "it";
  }
  if (status.revoked)
    return "every approval is revoked; 'volseal tpm approve' makes one that holds";
  return fmt::format("counter at {}, approvals hold up to {}", *status.counter,
                     status.sealed.sequence);
}

std::string status_text(const tpm::GroupStatus& status, const Options& options) {
  const tpm::SealedGroup& sealed = status.sealed;
  std::string text = named_group(options, sealed.group) + "\n";
  const auto line = [&](std::string_view name, std::string_view value) {
    text += fmt::format("  {:14}{}\n", name, value);
  };
  line("TPM", status.our_tpm
                  ? "this machine's"
                  : "another one, or cleared: it opens nothing here ('volseal tpm forget')");
  line("PCRs", fmt::format("{} of the {} bank", fmt::join(sealed.pcrs, ", "), sealed.bank));
  line("latch", fmt::format("PCR {}, {}", sealed.latch,
                            status.latch_closed ? "closed for this boot" : "open"));
  line("this boot", status.current_approved
                        ? "approved"
                        : "not approved; 'volseal tpm explain' says what changed");
  for (const tpm::ApprovedState& state : status.states) {
    line("approved", time_text(state.approved) + (state.current ? ", this boot" : ""));
  }
  line("revocation", counter_text(status));
  line("policy key",
       status.policy_key_there ? "here" : "missing: nothing can be approved any more");
  line("late copy", status.late_copy_there ? "here" : "none");
  line("PIN", sealed.pin ? "wanted at boot" : "none");
  line("wrong PINs", wrong_pins_text(status.dictionary_attack));
  line("lockout auth", lockout_text(status.dictionary_attack));
  return text;
}

// Whose it is, by the policy.
void add_owner(Json& json, const std::string& name, const Options& options) {
  const Group group = known_group(options, name);
  json["tenant"] = to_valid_utf8(group.tenant);
  json["environment"] = to_valid_utf8(group.environment);
}

Json status_json(const tpm::GroupStatus& status) {
  const tpm::SealedGroup& sealed = status.sealed;
  const tpm::DictionaryAttackState& attack = status.dictionary_attack;
  Json approvals = Json::array();
  for (const tpm::ApprovedState& state : status.states) {
    approvals.push_back({{"approved", state.approved}, {"current", state.current}});
  }
  return {{"group", sealed.group},
          {"our_tpm", status.our_tpm},
          {"bank", sealed.bank},
          {"pcrs", sealed.pcrs},
          {"latch", sealed.latch},
          {"latch_closed", status.latch_closed},
          {"current_approved", status.current_approved},
          {"approvals", std::move(approvals)},
          {"counter", status.counter ? Json(*status.counter) : Json()},
          {"sequence", sealed.sequence},
          {"revocation_pending", status.revocation_pending},
          {"revoked", status.revoked},
          {"policy_key", status.policy_key_there},
          {"late_copy", status.late_copy_there},
          {"pin", sealed.pin.has_value()},
          {"dictionary_attack",
           {{"locked_out", attack.locked_out},
            {"failures", attack.failures},
            {"tries_left", attack.tries_left},
            {"seconds_until_next_try", attack.until_next_try.count()},
            {"seconds_to_forget_one", attack.forgets_one_every.count()},
            {"lockout_auth_set", attack.lockout_auth_set}}}};
}

Json explanation_json(const ExplainedGroup& explained) {
  Json differences = Json::array();
  for (const tpm::PcrDifference& difference : explained.explanation.differences) {
    Json changes = Json::array();
    for (const std::string& change : difference.changes) changes.push_back(to_valid_utf8(change));
    differences.push_back({{"pcr", difference.pcr},
                           {"meaning", tpm::meaning_of_pcr(difference.pcr)},
                           {"log_agrees", difference.log_agrees},
                           {"changes", std::move(changes)}});
  }
  return {{"group", explained.group},
          {"latch_closed", explained.explanation.latch_closed},
          {"event_log", explained.explanation.log_there},
          {"event_log_problem", to_valid_utf8(explained.explanation.log_problem)},
          {"differences", std::move(differences)}};
}

std::string explanation_text(const ExplainedGroup& explained, const Options& options) {
  const tpm::Explanation& explanation = explained.explanation;
  std::string text = named_group(options, explained.group) + "\n";
  if (explanation.latch_closed) {
    text += fmt::format(
        "  PCR {} is closed for this boot (the latch), as it should be once all is open\n",
        explained.latch);
  }
  if (explanation.differences.empty()) {
    return text + "  everything else was measured as approved\n";
  }
  bool distrusted = false;
  for (const tpm::PcrDifference& difference : explanation.differences) {
    text += fmt::format("  PCR {} ({}) is not as approved\n", difference.pcr,
                        tpm::meaning_of_pcr(difference.pcr));
    for (const std::string& change : difference.changes) text += fmt::format("    {}\n", change);
    if (!difference.log_agrees) text += "    the event log does not lead to what the PCR holds\n";
    distrusted |= !difference.log_agrees;
  }
  if (distrusted) {
    text +=
        "  The event log cannot be trusted: find out what was measured before you approve it.\n";
  } else {
    if (!explanation.log_there) text += fmt::format("  {}\n", escaped(explanation.log_problem));
    text +=
        "  If this change is yours (an update, a setting): 'volseal tpm approve'. If it is not: do "
        "not.\n";
  }
  return text;
}

}  // namespace

void print_status(const std::vector<tpm::GroupStatus>& groups, bool json, const Options& options) {
  if (json) {
    Json all = {{"schema", "volseal-tpm-status/1"}, {"groups", Json::array()}};
    for (const tpm::GroupStatus& group : groups) {
      all["groups"].push_back(status_json(group));
      add_owner(all["groups"].back(), group.sealed.group, options);
    }
    print_out(all.dump(1) + "\n");
    return;
  }
  std::string text;
  for (const tpm::GroupStatus& group : groups) text += status_text(group, options);
  print_out(text);
}

void print_explanations(const std::vector<ExplainedGroup>& groups, bool json,
                        const Options& options) {
  if (json) {
    Json all = {{"schema", "volseal-tpm-explain/1"}, {"groups", Json::array()}};
    for (const ExplainedGroup& group : groups) {
      all["groups"].push_back(explanation_json(group));
      add_owner(all["groups"].back(), group.group, options);
    }
    print_out(all.dump(1) + "\n");
    return;
  }
  std::string text;
  for (const ExplainedGroup& group : groups) text += explanation_text(group, options);
  print_out(text);
}

}  // namespace volseal
