#include "tpm/approval.h"

#include "tpm/counter.h"
#include "tpm/group_work.h"
#include "tpm/policy_digest.h"

#include <algorithm>

namespace volseal::tpm {

namespace {

StorageRoot require_our_tpm(Connection& tpm, const SealedGroup& sealed) {
  StorageRoot root = open_or_make_storage_root(tpm.impl());
  if (root.public_area != sealed.srk) {
    throw Error(Code::tpm_refused,
                "change group {}: it was sealed by another TPM, or before this one was cleared",
                sealed.group);
  }
  return root;
}

PolicyKey require_policy_key(const GroupState& state, const SealedGroup& sealed) {
  if (auto key = state.policy_key(sealed.policy_key)) return *std::move(key);
  throw Error(Code::not_found, "sign an approval for group {}: its policy key is not in {}",
              sealed.group, state.folder().native());
}

void refuse_while_pending(const SealedGroup& sealed, std::uint64_t counter) {
  if (sealed.sequence <= counter) return;
  throw Error(Code::unsafe,
              "change group {}: a revocation or PIN change was begun and not finished ('volseal "
              "tpm revoke' "
              "finishes it)",
              sealed.group);
}

}  // namespace

SealedGroup load_group(const GroupState& state) {
  const auto text = state.sealed();
  if (!text) {
    throw Error(Code::not_found, "open group {}: there is none in {}",
                state.folder().filename().native(), state.folder().parent_path().native());
  }
  return parse_sealed(*text);
}

std::optional<EventLog> approved_event_log(const GroupState& state) {
  const auto text = state.event_log();
  if (!text || text->empty()) return std::nullopt;
  try {
    return parse_event_log(
        std::span(reinterpret_cast<const std::uint8_t*>(text->data()), text->size()));
  } catch (const Error&) {
    return std::nullopt;
  }
}

GroupStatus group_status(Connection& tpm, const GroupState& state) {
  GroupStatus status;
  status.sealed = load_group(state);
  const SealedGroup& sealed = status.sealed;
  const Bytes composite = pcr_composite(values_to_approve(tpm, sealed));
  for (const PcrState& approved : sealed.states) {
    status.states.push_back(
        {.approved = approved.approved, .current = approved.composite == composite});
    status.current_approved |= status.states.back().current;
  }
  status.latch_closed = latch_closed(tpm, sealed.bank, sealed.latch);
  status.our_tpm = present_storage_root(tpm.impl()) == sealed.srk;
  status.policy_key_there = state.policy_key(sealed.policy_key).has_value();
  status.late_copy_there = state.late().has_value();
  try {
    status.counter = read_counter(tpm, sealed.counter);
  } catch (const TpmError& error) {
    if (error.meaning() != Meaning::no_handle && error.meaning() != Meaning::unwritten) throw;
  }
  if (status.counter) {
    status.revocation_pending = sealed.sequence > *status.counter;
    status.revoked = sealed.sequence < *status.counter;
  }
  status.dictionary_attack = dictionary_attack_state(tpm);
  return status;
}

std::string approve_state(Connection& tpm, const GroupState& state, const ApproveOptions& options) {
  const FileLock lock(state.folder() / "lock");
  SealedGroup sealed = load_group(state);
  const PolicyKey key = require_policy_key(state, sealed);
  require_our_tpm(tpm, sealed);
  const PcrValues values = values_to_approve(tpm, sealed);
  if (!options.allow_unmeasured) require_measured(values, sealed.latch);
  add_state(tpm, sealed, values);
  if (sealed.states.size() > SealedGroup::max_states) {
    if (!options.drop_oldest) {
      throw Error(
          Code::tpm_refused,
          "approve this boot for group {}: {} states are approved already; revoke old ones first",
          sealed.group, SealedGroup::max_states);
    }
    sealed.states.erase(sealed.states.begin());
  }
  // A counter that went ahead (a state folder restored from a backup) is caught up with.
  sealed.sequence = std::max(sealed.sequence, read_counter(tpm, sealed.counter));
  approve(tpm.impl(), sealed, key);
  std::string text = to_json(sealed);
  keep_event_log(tpm, state);
  state.save_sealed(text);
  return text;
}

std::string begin_revocation(Connection& tpm, const GroupState& state) {
  const FileLock lock(state.folder() / "lock");
  SealedGroup sealed = load_group(state);
  const std::uint64_t counter = read_counter(tpm, sealed.counter);
  if (sealed.sequence > counter) return to_json(sealed);
  const PolicyKey key = require_policy_key(state, sealed);
  require_our_tpm(tpm, sealed);
  const Bytes current = pcr_composite(values_to_approve(tpm, sealed));
  if (std::erase_if(sealed.states, [&](const PcrState& old) { return old.composite != current; });
      sealed.states.empty()) {
    throw Error(Code::unsafe,
                "revoke the other approvals of group {}: this boot is not approved, so nothing "
                "would be left "
                "that opens ('volseal tpm approve' first)",
                sealed.group);
  }
  sealed.sequence = counter + 1;
  approve(tpm.impl(), sealed, key);
  std::string text = to_json(sealed);
  state.save_sealed(text);
  return text;
}

void finish_revocation(Connection& tpm, const GroupState& state) {
  const FileLock lock(state.folder() / "lock");
  const SealedGroup sealed = load_group(state);
  const std::uint64_t counter = read_counter(tpm, sealed.counter);
  if (sealed.sequence <= counter) return;
  if (sealed.sequence != counter + 1) {
    throw Error(Code::damaged,
                "revoke old approvals of group {}: the counter is at {}, the approval for {}",
                sealed.group, counter, sealed.sequence);
  }
  // Only an approval that holds may outlive the others.
  if (const std::string why = contradiction(sealed); !why.empty()) {
    throw Error(Code::damaged, "revoke old approvals of group {}: {}", sealed.group, why);
  }
  increment_counter(tpm, sealed.counter);
}

std::string begin_pin_change(Connection& tpm, const GroupState& state, const PinChange& change) {
  const FileLock lock(state.folder() / "lock");
  SealedGroup sealed = load_group(state);
  const std::uint64_t counter = read_counter(tpm, sealed.counter);
  refuse_while_pending(sealed, counter);
  // A cut may have left the key in force under the next key's name.
  state.settle_policy_key(sealed.policy_key);
  const StorageRoot root = require_our_tpm(tpm, sealed);
  const GroupKey old = open_secret(tpm, sealed, state, change.ask_old_pin);
  if (old.outcome != Outcome::opened) {
    throw Error(old.outcome == Outcome::wrong_pin || old.outcome == Outcome::needs_pin
                    ? Code::wrong_secret
                    : Code::tpm_refused,
                "open the secret of group {}: {}", sealed.group, old.reason);
  }
  // A new policy key: nobody will sign for the old one again, so what it sealed is void once the
  // counter has gone up, with or without its PIN.
  const PolicyKey key = PolicyKey::generate();
  sealed.policy_key = key.public_point();
  seal_group(tpm.impl(), sealed, root, old.secret, change.pin);
  sealed.sequence = counter + 1;
  approve(tpm.impl(), sealed, key);
  prove(tpm, sealed, key, old.secret, change.pin);
  std::string text = to_json(sealed);
  state.save_next_policy_key(key);
  state.save_sealed(text);
  state.settle_policy_key(sealed.policy_key);
  return text;
}

}  // namespace volseal::tpm
