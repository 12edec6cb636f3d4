// What making a group and changing one have in common; for tpm/*.cpp.
#pragma once

#include "core/policy/policy.h"
#include "core/protect/group_protector.h"
#include "tpm/sealing.h"
#include "tpm/state.h"

namespace volseal::tpm {

// What will be in the PCRs when a boot unseals: as now, with the latch open.
PcrValues values_to_approve(Connection& tpm, const SealedGroup& sealed);
// Throws Error{tpm_refused} for a chosen PCR that nothing was measured into.
void require_measured(const PcrValues& values, int latch);
// `values` become an approved state, the newest; one that is approved already is renewed. Keeps
// this boot's events with it.
void add_state(Connection& tpm, SealedGroup& sealed, const PcrValues& values);
// This boot's event log, beside the master copy; nothing where there is none.
void keep_event_log(Connection& tpm, const GroupState& state);

// Seals `secret` as `sealed` says (key, group, PIN) into sealed.object_*.
void seal_group(Connection::Impl& tpm, SealedGroup& sealed, const StorageRoot& root,
                const Secret& secret, const Secret* pin);

// Unseals by an approval of the PCRs as they are this moment, latch included, that is never written
// down. Who holds the policy key may do that: it lies where the group secret's own copies would be
// as safe.
GroupKey unseal_by_policy_key(Connection& tpm, SealedGroup sealed, const PolicyKey& key,
                              const AskPin& ask_pin);
// Throws Error{tpm_refused} unless that gives `secret`: object, PIN and policy key belong together.
void prove(Connection& tpm, const SealedGroup& sealed, const PolicyKey& key, const Secret& secret,
           const Secret* pin);

// The group's secret by whatever way is open: its approvals, the late copy, the policy key.
GroupKey open_secret(Connection& tpm, const SealedGroup& sealed, const GroupState& state,
                     const AskPin& ask_pin);

}  // namespace volseal::tpm
