#include "tpm/group.h"

#include "tpm/counter.h"
#include "tpm/group_work.h"
#include "tpm/late.h"

#include <algorithm>

namespace volseal::tpm {

namespace {

constexpr std::size_t secret_size = 32;

// The PCRs that volseal may bind to; throws for a choice that makes no sense.
std::vector<int> checked_pcrs(const TpmProtection& choice) {
  std::vector<int> pcrs = choice.pcrs;
  std::ranges::sort(pcrs);
  pcrs.erase(std::ranges::unique(pcrs).begin(), pcrs.end());
  if (pcrs.empty()) throw Error(Code::bad_policy, "seal to PCRs: none is chosen");
  if (pcrs.front() < 0 || pcrs.back() > 23)
    throw Error(Code::bad_policy, "seal to PCRs: there are PCRs 0 to 23");
  // 16 and 23 can be reset by anybody, 17 to 22 belong to late launch.
  if (choice.latch < 0 || choice.latch > 15) {
    throw Error(Code::bad_policy, "latch PCR {}: only 0 to 15 stay closed until a restart",
                choice.latch);
  }
  if (std::ranges::find(pcrs, choice.latch) != pcrs.end()) {
    throw Error(Code::bad_policy, "PCR {} is the latch and cannot be chosen as well", choice.latch);
  }
  return pcrs;
}

PolicyKey open_or_make_policy_key(const GroupState& state) {
  if (auto key = state.policy_key()) return *std::move(key);
  PolicyKey key = PolicyKey::generate();
  state.save_policy_key(key);
  return key;
}

OpenedGroup create(Connection& tpm, const Group& group, const GroupState& state,
                   const OpenOptions& options) {
  auto& impl = tpm.impl();
  SealedGroup sealed;
  sealed.group = group.name;
  sealed.pcrs = checked_pcrs(group.tpm);
  sealed.latch = group.tpm.latch;
  sealed.bank = choose_bank(tpm, group.tpm.bank, bound_pcrs(sealed));
  const PcrValues values = values_to_approve(tpm, sealed);
  if (!group.tpm.allow_unmeasured) require_measured(values, sealed.latch);

  const PolicyKey key = open_or_make_policy_key(state);
  sealed.policy_key = key.public_point();
  const StorageRoot root = open_or_make_storage_root(impl);
  sealed.srk = root.public_area;
  sealed.counter = make_counter(tpm, state);
  sealed.sequence = read_counter(tpm, sealed.counter);
  add_state(tpm, sealed, values);
  Secret secret = Secret::random(secret_size);
  seal_group(impl, sealed, root, secret, options.pin);
  approve(impl, sealed, key);
  // Nothing may rest on this secret before the TPM has given it back.
  prove(tpm, sealed, key, secret, options.pin);
  if (options.late_copy) {
    make_late_copy(tpm, state, secret);
    if (const GroupKey proof = recover_late(tpm, state); !proof.secret.equal(secret)) {
      throw Error(Code::tpm_refused, "prove the late copy of group {}: {}", group.name,
                  proof.reason);
    }
  }
  keep_event_log(tpm, state);
  std::string text = to_json(sealed);
  state.save_sealed(text);
  return {.sealed = std::move(text), .secret = std::move(secret), .created = true};
}

OpenedGroup open(Connection& tpm, std::string text, const GroupState& state,
                 const OpenOptions& options) {
  const SealedGroup sealed = parse_sealed(text);
  GroupKey key = open_secret(tpm, sealed, state, options.ask_pin);
  if (key.outcome != Outcome::opened) {
    throw Error(Code::tpm_refused, "open the secret of group {}: {}", sealed.group, key.reason);
  }
  // A late copy that is missing, or does not open, is made while the secret is at hand.
  if (options.late_copy && !recover_late(tpm, state).secret.equal(key.secret)) {
    make_late_copy(tpm, state, key.secret);
  }
  return {.sealed = std::move(text), .secret = std::move(key.secret), .created = false};
}

}  // namespace

OpenedGroup open_or_create_group(Connection& tpm, const Group& group, const Path& state_folder,
                                 const OpenOptions& options) {
  const GroupState state(state_folder, group.name);
  make_folder(state.folder());
  const FileLock lock(state.folder() / "lock");
  if (auto text = state.sealed()) return open(tpm, *std::move(text), state, options);
  return create(tpm, group, state, options);
}

}  // namespace volseal::tpm
