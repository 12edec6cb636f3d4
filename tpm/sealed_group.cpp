#include "tpm/sealed_group.h"

#include "core/base/strict_json.h"
#include "tpm/policy_digest.h"
#include "tpm/policy_key.h"
#include "tpm/templates.h"

#include <algorithm>

namespace volseal::tpm {

namespace {

constexpr std::uint64_t version = 1;
constexpr std::size_t point_size = 64;
constexpr std::size_t max_group_name = 64;
constexpr std::size_t max_public = 512;  // an RSA-2048 storage root key takes 316 bytes
constexpr std::size_t max_private = 512;
constexpr std::size_t max_ticket = 80;
// NV indices of the owner (TCG registry of reserved handles).
constexpr std::uint64_t first_owner_index = 0x01800000;
constexpr std::uint64_t last_owner_index = 0x01bfffff;
// Bounded above: a hostile token must not keep a boot busy for minutes.
constexpr std::uint64_t least_iterations = 1'000;
constexpr std::uint64_t most_iterations = 10'000'000;

std::vector<int> parse_pcrs(StrictJson& json) {
  std::vector<int> pcrs;
  for (const auto& value : json.array("pcrs", 1, 24)) {
    pcrs.push_back(static_cast<int>(json.number(value, "pcrs", 0, 23)));
  }
  if (std::ranges::adjacent_find(pcrs, std::greater_equal<>()) != pcrs.end()) {
    json.fail("\"pcrs\" is not ascending");
  }
  return pcrs;
}

PcrState parse_state(const nlohmann::json& value, std::size_t pcrs, const std::string& what) {
  StrictJson json(value, what);
  PcrState state;
  state.approved = static_cast<std::int64_t>(json.number("approved", 0, 1ULL << 40U));
  state.composite = json.bytes("composite", sha256_size, sha256_size);
  const std::size_t prefixes = pcrs * SealedGroup::prefix_size;
  state.prefixes = json.bytes("prefixes", prefixes, prefixes);
  json.finish();
  return state;
}

PinStretch parse_pin(const nlohmann::json& value, const std::string& what) {
  StrictJson json(value, what);
  PinStretch pin;
  pin.salt = json.bytes("salt", sha256_size, sha256_size);
  pin.iterations =
      static_cast<unsigned>(json.number("iterations", least_iterations, most_iterations));
  json.finish();
  return pin;
}

}  // namespace

std::vector<int> bound_pcrs(const SealedGroup& sealed) {
  std::vector<int> pcrs = sealed.pcrs;
  pcrs.insert(std::ranges::lower_bound(pcrs, sealed.latch), sealed.latch);
  return pcrs;
}

SealedGroup parse_sealed(std::string_view text) {
  const std::string what = "sealed group";
  const nlohmann::json parsed = StrictJson::parse(text, SealedGroup::max_text, what);
  StrictJson json(parsed, what);
  if (json.number("version", 0, 1000) != version) json.fail("written by a newer volseal");
  SealedGroup sealed;
  sealed.group = json.text("group", max_group_name);
  if (sealed.group.empty()) json.fail("\"group\" is empty");
  sealed.bank = json.text("bank", 8);
  if (sealed.bank != "sha256" && sealed.bank != "sha384" && sealed.bank != "sha512") {
    json.fail("\"bank\" is unknown");
  }
  sealed.pcrs = parse_pcrs(json);
  sealed.latch = static_cast<int>(json.number("latch", 0, 15));
  if (std::ranges::find(sealed.pcrs, sealed.latch) != sealed.pcrs.end())
    json.fail("the latch is chosen too");
  sealed.srk = json.bytes("srk", 1, max_public);
  sealed.object_public = json.bytes("public", 1, max_public);
  sealed.object_private = json.bytes("private", 1, max_private);
  sealed.policy_key = json.bytes("policy_key", point_size, point_size);
  sealed.counter =
      static_cast<std::uint32_t>(json.number("counter", first_owner_index, last_owner_index));
  sealed.sequence = json.number("sequence", 0, UINT64_MAX);
  for (const auto& state : json.array("states", 1, SealedGroup::max_states)) {
    sealed.states.push_back(parse_state(state, sealed.pcrs.size() + 1, what));
  }
  sealed.signature = json.bytes("signature", point_size, point_size);
  if (json.has("ticket")) sealed.ticket = json.bytes("ticket", 1, max_ticket);
  if (json.has("pin")) sealed.pin = parse_pin(json.at("pin"), what);
  if (json.has("events")) {
    sealed.events = json.bytes("events", 0, SealedGroup::event_size * SealedGroup::max_events);
    if (sealed.events.size() % SealedGroup::event_size != 0)
      json.fail("\"events\" has a wrong size");
  }
  json.finish();
  return sealed;
}

std::string to_json(const SealedGroup& sealed) {
  nlohmann::json states = nlohmann::json::array();
  for (const PcrState& state : sealed.states) {
    states.push_back({{"approved", static_cast<std::uint64_t>(state.approved)},
                      {"composite", to_base64(state.composite)},
                      {"prefixes", to_base64(state.prefixes)}});
  }
  nlohmann::json json = {{"version", version},
                         {"group", sealed.group},
                         {"bank", sealed.bank},
                         {"pcrs", sealed.pcrs},
                         {"latch", sealed.latch},
                         {"srk", to_base64(sealed.srk)},
                         {"public", to_base64(sealed.object_public)},
                         {"private", to_base64(sealed.object_private)},
                         {"policy_key", to_base64(sealed.policy_key)},
                         {"counter", sealed.counter},
                         {"sequence", sealed.sequence},
                         {"states", std::move(states)},
                         {"signature", to_base64(sealed.signature)}};
  if (!sealed.ticket.empty()) json["ticket"] = to_base64(sealed.ticket);
  if (sealed.pin) {
    json["pin"] = {{"salt", to_base64(sealed.pin->salt)}, {"iterations", sealed.pin->iterations}};
  }
  if (!sealed.events.empty()) json["events"] = to_base64(sealed.events);
  std::string text = json.dump();
  if (text.size() > SealedGroup::max_text) {
    throw Error(Code::tpm_refused,
                "write the sealed group {}: {} bytes do not fit into a token (choose "
                "fewer PCRs, or revoke old approvals)",
                sealed.group, text.size());
  }
  return text;
}

bool same_group(std::string_view left, std::string_view right) {
  try {
    const SealedGroup a = parse_sealed(left);
    const SealedGroup b = parse_sealed(right);
    return a.group == b.group && a.srk == b.srk && a.counter == b.counter;
  } catch (const Error&) {
    return false;
  }
}

bool supersedes(std::string_view newer, std::string_view older) {
  return same_group(newer, older) && parse_sealed(newer).sequence >= parse_sealed(older).sequence;
}

Bytes approved_policy(const SealedGroup& sealed) {
  const std::vector<int> pcrs = bound_pcrs(sealed);
  std::vector<Bytes> branches;
  branches.reserve(sealed.states.size());
  for (const PcrState& state : sealed.states) {
    branches.push_back(after_policy_pcr(sealed.bank, pcrs, state.composite));
  }
  // PolicyOR wants two branches at least; one state needs none.
  const Bytes states = branches.size() == 1 ? branches.front() : after_policy_or(branches);
  return after_policy_nv(states, counter_name(sealed.counter), sealed.sequence);
}

Bytes approval_digest(const SealedGroup& sealed) {
  return sha256({approved_policy(sealed), policy_ref(sealed.group)});
}

Bytes object_policy(const SealedGroup& sealed) {
  const Bytes authorized =
      after_policy_authorize(policy_key_name(sealed.policy_key), policy_ref(sealed.group));
  return sealed.pin ? after_policy_auth_value(authorized) : authorized;
}

std::string contradiction(const SealedGroup& sealed) {
  if (!verify_approval(sealed.policy_key, approval_digest(sealed), sealed.signature)) {
    return "the approval is not signed by the group's policy key";
  }
  const TPM2B_PUBLIC wanted =
      sealed_template({.auth_policy = object_policy(sealed), .guessable = sealed.pin.has_value()});
  TPM2B_PUBLIC found = unmarshalled_public(sealed.object_public);
  // Of the sealed object only `unique` is not ours to say.
  found.publicArea.unique.keyedHash.size = 0;
  if (marshalled(found) != marshalled(wanted)) {
    return "the sealed object is not bound to the group's policy key";
  }
  return "";
}

}  // namespace volseal::tpm
