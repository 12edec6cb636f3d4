#include "tpm/group.h"

#include "tpm/counter.h"
#include "tpm/late.h"
#include "tpm/pcr.h"
#include "tpm/sealing.h"
#include "tpm/state.h"
#include "tpm/unseal.h"

#include <algorithm>
#include <chrono>

namespace volseal::tpm {

namespace {

constexpr std::size_t secret_size = 32;
constexpr std::size_t salt_size = 32;
constexpr unsigned pin_iterations = 100'000;
constexpr std::size_t least_pin = 4;

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

void require_measured(const PcrValues& values, int latch, const TpmProtection& choice) {
  if (choice.allow_unmeasured) return;
  for (const auto& [pcr, value] : values) {
    if (pcr == latch || !unmeasured(value)) continue;
    throw Error(Code::tpm_refused,
                "seal to PCR {}: it is all {}, so nothing was measured into it in this boot and "
                "any boot would "
                "match (choose another one, or allow_unmeasured)",
                pcr, value.front() == 0 ? "zeros" : "ones");
  }
}

// What will be in the PCRs when a boot unseals: as now, with the latch open.
PcrValues values_to_approve(Connection& tpm, const SealedGroup& sealed) {
  PcrValues values = read_pcrs(tpm, sealed.bank, bound_pcrs(sealed));
  std::ranges::fill(values.at(sealed.latch), std::uint8_t{0});
  return values;
}

std::int64_t seconds_since_1970() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
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
  require_measured(values, sealed.latch, group.tpm);

  const PolicyKey key = open_or_make_policy_key(state);
  sealed.policy_key = key.public_point();
  const StorageRoot root = open_or_make_storage_root(impl);
  sealed.srk = root.public_area;
  sealed.counter = make_counter(tpm, state);
  sealed.sequence = read_counter(tpm, sealed.counter);
  sealed.states = {pcr_state(values, seconds_since_1970())};

  Secret secret = Secret::random(secret_size);
  Secret auth;
  if (options.pin != nullptr) {
    if (options.pin->size() < least_pin) {
      throw Error(Code::usage, "seal with a PIN: it needs {} characters at least", least_pin);
    }
    const Secret salt = Secret::random(salt_size);
    sealed.pin = PinStretch{.salt = {salt.bytes().begin(), salt.bytes().end()},
                            .iterations = pin_iterations};
    auth = stretched(*options.pin, *sealed.pin);
  }
  SealedObject object =
      seal(impl, root, secret, auth,
           {.auth_policy = object_policy(sealed), .guessable = sealed.pin.has_value()});
  sealed.object_public = std::move(object.public_area);
  sealed.object_private = std::move(object.private_area);
  approve(impl, sealed, key);

  // Nothing may rest on this secret before the TPM has given it back once. With the latch closed
  // that cannot be had in this boot; the late copy then is the proof that the secret is not lost.
  if (!latch_closed(tpm, sealed.bank, sealed.latch)) {
    const AskPin same_pin = [&](const std::string&) -> std::optional<Secret> {
      return options.pin->clone();
    };
    const GroupKey proof = unseal(tpm, sealed, sealed.pin ? same_pin : AskPin{});
    if (proof.outcome != Outcome::opened || !proof.secret.equal(secret)) {
      throw Error(Code::tpm_refused, "prove the sealed secret of group {}: {}", group.name,
                  proof.reason);
    }
  } else if (!options.late_copy) {
    throw Error(Code::tpm_refused,
                "seal the secret of group {}: PCR {} (the latch) is closed for this boot, so it "
                "could not be "
                "proven to open; restart first",
                group.name, sealed.latch);
  }
  if (options.late_copy) {
    make_late_copy(tpm, state, secret);
    if (const GroupKey proof = recover_late(tpm, state); !proof.secret.equal(secret)) {
      throw Error(Code::tpm_refused, "prove the late copy of group {}: {}", group.name,
                  proof.reason);
    }
  }
  std::string text = to_json(sealed);
  state.save_sealed(text);
  return {.sealed = std::move(text), .secret = std::move(secret), .created = true};
}

OpenedGroup open(Connection& tpm, std::string text, const GroupState& state,
                 const OpenOptions& options) {
  const SealedGroup sealed = parse_sealed(text);
  GroupKey key = unseal(tpm, sealed, options.ask_pin);
  const std::string reason = key.reason;
  const bool opened = key.outcome == Outcome::opened;
  if (!opened) key = recover_late(tpm, state);
  if (key.outcome != Outcome::opened) {
    throw Error(Code::tpm_refused, "open the secret of group {}: {}", sealed.group, reason);
  }
  // A late copy that is missing, or does not open, is made while the secret is at hand.
  if (opened && options.late_copy && !recover_late(tpm, state).secret.equal(key.secret)) {
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
