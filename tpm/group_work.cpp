#include "tpm/group_work.h"

#include "tpm/counter.h"
#include "tpm/explain.h"
#include "tpm/late.h"
#include "tpm/unseal.h"

#include <algorithm>
#include <chrono>

namespace volseal::tpm {

namespace {

constexpr std::size_t salt_size = 32;
constexpr unsigned pin_iterations = 100'000;
constexpr std::size_t least_pin = 4;

std::int64_t seconds_since_1970() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

PcrValues values_to_approve(Connection& tpm, const SealedGroup& sealed) {
  PcrValues values = read_pcrs(tpm, sealed.bank, bound_pcrs(sealed));
  std::ranges::fill(values.at(sealed.latch), std::uint8_t{0});
  return values;
}

void require_measured(const PcrValues& values, int latch) {
  for (const auto& [pcr, value] : values) {
    if (pcr == latch || !unmeasured(value)) continue;
    throw Error(Code::tpm_refused,
                "seal to PCR {}: it is all {}, so nothing was measured into it in this boot and "
                "any boot would "
                "match (choose another one, or allow_unmeasured)",
                pcr, value.front() == 0 ? "zeros" : "ones");
  }
}

void add_state(Connection& tpm, SealedGroup& sealed, const PcrValues& values) {
  PcrState state = pcr_state(values, seconds_since_1970());
  std::erase_if(sealed.states,
                [&](const PcrState& old) { return old.composite == state.composite; });
  sealed.states.push_back(std::move(state));
  sealed.events.clear();
  try {
    const auto text = read_event_log(tpm.event_log());
    if (!text) return;
    const EventLog log = parse_event_log(
        std::span(reinterpret_cast<const std::uint8_t*>(text->data()), text->size()));
    sealed.events = event_prefixes(log, sealed);
  } catch (const Error&) {
    // A log that cannot be read explains nothing later; that is all it is for.
    sealed.events.clear();
  }
}

void keep_event_log(Connection& tpm, const GroupState& state) {
  try {
    state.save_event_log(read_event_log(tpm.event_log()).value_or(""));
  } catch (const Error&) {
    state.save_event_log("");
  }
}

void seal_group(Connection::Impl& tpm, SealedGroup& sealed, const StorageRoot& root,
                const Secret& secret, const Secret* pin) {
  Secret auth;
  sealed.pin.reset();
  if (pin != nullptr) {
    if (pin->size() < least_pin) {
      throw Error(Code::usage, "seal with a PIN: it needs {} characters at least", least_pin);
    }
    const Secret salt = Secret::random(salt_size);
    const PinStretch stretch{.salt = {salt.bytes().begin(), salt.bytes().end()},
                             .iterations = pin_iterations};
    auth = stretched(*pin, stretch);
    sealed.pin = stretch;
  }
  SealedObject object = seal(tpm, root, secret, auth,
                             {.auth_policy = object_policy(sealed), .guessable = pin != nullptr});
  sealed.object_public = std::move(object.public_area);
  sealed.object_private = std::move(object.private_area);
}

GroupKey unseal_by_policy_key(Connection& tpm, SealedGroup sealed, const PolicyKey& key,
                              const AskPin& ask_pin) {
  try {
    sealed.states = {pcr_state(read_pcrs(tpm, sealed.bank, bound_pcrs(sealed)), 0)};
    sealed.sequence = std::max(sealed.sequence, read_counter(tpm, sealed.counter));
    approve(tpm.impl(), sealed, key);
  } catch (const Error& error) {
    GroupKey refused;
    refused.reason = error.what();
    return refused;
  }
  return unseal(tpm, sealed, ask_pin);
}

void prove(Connection& tpm, const SealedGroup& sealed, const PolicyKey& key, const Secret& secret,
           const Secret* pin) {
  if (const std::string why = contradiction(sealed); !why.empty()) {
    throw Error(Code::internal, "prove the sealed secret of group {}: {}", sealed.group, why);
  }
  AskPin ask;
  if (pin != nullptr) ask = [&](const std::string&) { return std::optional(pin->clone()); };
  const GroupKey proof = unseal_by_policy_key(tpm, sealed, key, ask);
  if (proof.outcome != Outcome::opened || !proof.secret.equal(secret)) {
    throw Error(Code::tpm_refused, "prove the sealed secret of group {}: {}", sealed.group,
                proof.reason);
  }
}

GroupKey open_secret(Connection& tpm, const SealedGroup& sealed, const GroupState& state,
                     const AskPin& ask_pin) {
  // Behind the latch the approvals cannot open, and a PIN would be asked for in vain.
  const bool latched = latch_closed(tpm, sealed.bank, sealed.latch);
  GroupKey key;
  if (!latched) key = unseal(tpm, sealed, ask_pin);
  if (key.outcome == Outcome::opened || key.outcome == Outcome::wrong_pin ||
      key.outcome == Outcome::locked_out) {
    return key;
  }
  if (GroupKey late = recover_late(tpm, state); late.outcome == Outcome::opened) return late;
  if (latched || key.outcome == Outcome::policy_mismatch || key.outcome == Outcome::revoked) {
    if (const auto policy_key = state.policy_key(sealed.policy_key)) {
      return unseal_by_policy_key(tpm, sealed, *policy_key, ask_pin);
    }
  }
  if (latched && key.reason.empty()) {
    key.outcome = Outcome::policy_mismatch;
    key.reason = fmt::format(
        "PCR {} is closed for this boot (the latch), and neither a late copy nor the "
        "policy key is there",
        sealed.latch);
  }
  return key;
}

}  // namespace volseal::tpm
