// Approving boot states, revoking approvals, changing the PIN: the group secret stays what it is,
// no keyslot changes.
//
// Every change makes a new `sealed` text. STATE/groups/NAME/sealed.json is its master; the caller
// then writes it into the token of every volume of the group. A revocation has two phases, so that
// a power cut never locks anybody out:
//   begin_...()          signs for the counter's next value. Old and new text both unseal.
//   (the caller writes the tokens)
//   finish_revocation()  counts up. From here on only the new text unseals.
// After a cut in between, group_status().revocation_pending says so; writing the tokens again and
// finish_revocation() complete it.
#pragma once

#include "core/policy/policy.h"
#include "core/protect/group_protector.h"
#include "tpm/connection.h"
#include "tpm/dictionary_attack.h"
#include "tpm/explain.h"
#include "tpm/sealed_group.h"
#include "tpm/state.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace volseal::tpm {

struct ApprovedState {
  std::int64_t approved = 0;  // seconds since 1970
  bool current = false;       // what the PCRs hold in this boot
};

struct GroupStatus {
  SealedGroup sealed;
  std::vector<ApprovedState> states;
  bool current_approved = false;
  bool latch_closed = false;
  bool our_tpm = false;  // the storage root key that is there is the pinned one
  bool policy_key_there = false;
  bool late_copy_there = false;
  std::optional<std::uint64_t> counter;  // nothing: it is gone
  bool revocation_pending = false;       // signed for the next value, not counted up yet
  bool revoked = false;                  // the counter is above what is approved
  DictionaryAttackState dictionary_attack;
};

// Throws Error{not_found} where there is no such group.
GroupStatus group_status(Connection& tpm, const GroupState& state);

struct ApproveOptions {
  bool allow_unmeasured = false;
  bool drop_oldest = false;  // where eight states are approved already
};
// The PCRs as they are in this boot (the latch as it was before it closed) are approved from here
// on. Throws Error{tpm_refused}: another TPM, unmeasured PCRs, eight states already.
std::string approve_state(Connection& tpm, const GroupState& state,
                          const ApproveOptions& options = {});

// Only this boot's state stays approved. Throws Error{unsafe} where it is not among the approved
// ones. A revocation that was begun is returned as it is.
std::string begin_revocation(Connection& tpm, const GroupState& state);
// Nothing to do is no error.
void finish_revocation(Connection& tpm, const GroupState& state);

struct PinChange {
  const Secret* pin = nullptr;  // nullptr: no PIN from here on
  AskPin ask_old_pin;           // where there is one and no late copy opens
};
// Seals the same secret again under a new policy key; what was sealed before loses its approvals
// with finish_revocation(). Proven to open before anything is written.
std::string begin_pin_change(Connection& tpm, const GroupState& state, const PinChange& change);

// The sealed text of the group that is there. Throws Error{not_found, damaged}.
SealedGroup load_group(const GroupState& state);

// The event log as it was at the last approval.
std::optional<EventLog> approved_event_log(const GroupState& state);

}  // namespace volseal::tpm
