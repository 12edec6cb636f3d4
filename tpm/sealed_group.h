// What one needs to unseal a group's secret, apart from the TPM: the `sealed` text of a
// volseal-tpm2 token. Public: whoever reads it learns no secret. Hostile: whoever writes a header
// writes this.
#pragma once

#include "core/base/base64.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::tpm {

// One approved state of the PCRs.
struct PcrState {
  std::int64_t approved = 0;  // seconds since 1970
  Bytes composite;            // what PolicyPCR is about, 32 bytes
  Bytes prefixes;  // four bytes of every PCR, ascending: enough to name the one that moved
};

struct PinStretch {
  Bytes salt;               // 32 bytes
  unsigned iterations = 0;  // PBKDF2-HMAC-SHA256
};

struct SealedGroup {
  std::string group;
  std::string bank;
  std::vector<int> pcrs;  // ascending, without the latch
  int latch = 15;
  Bytes srk;  // TPM2B_PUBLIC of the storage root key: sessions are salted to this one only
  Bytes object_public;           // TPM2B_PUBLIC
  Bytes object_private;          // TPM2B_PRIVATE's buffer
  Bytes policy_key;              // x ‖ y
  std::uint32_t counter = 0;     // NV index
  std::uint64_t sequence = 0;    // what is approved holds while the counter is not above this
  std::vector<PcrState> states;  // one to eight
  Bytes signature;               // by the policy key, over what states and sequence come to
  Bytes ticket;                  // the TPM's own word that it has verified the signature
  std::optional<PinStretch> pin;
  // The boot that was approved last: PCR and four bytes of the digest, for every event of its
  // firmware's log. May be empty. With this an unlock that is refused can say what changed, before
  // any disk is open.
  Bytes events;

  static constexpr std::size_t max_states = 8;
  static constexpr std::size_t max_text = 6144;
  static constexpr std::size_t prefix_size = 4;
  static constexpr std::size_t event_size = 1 + prefix_size;
  static constexpr std::size_t max_events = 128;
};

// The chosen PCRs and the latch, ascending.
std::vector<int> bound_pcrs(const SealedGroup& sealed);

// Strict: throws Error{damaged} for unknown or missing keys, duplicates, wrong types, sizes or
// ranges.
SealedGroup parse_sealed(std::string_view text);
std::string to_json(const SealedGroup& sealed);

// The same group of the same TPM, whatever is approved. False where either is garbage.
bool same_group(std::string_view left, std::string_view right);
// Whether `newer` may take the place of `older` in a volume's token: the same group of the same
// TPM, and not an older approval. False where either is garbage: what cannot be identified is left
// alone.
bool supersedes(std::string_view newer, std::string_view older);

// What the policy key signs: SHA-256(approved policy ‖ policyRef).
Bytes approved_policy(const SealedGroup& sealed);
Bytes approval_digest(const SealedGroup& sealed);
// The sealed object's policy: PolicyAuthorize, and PolicyAuthValue where there is a PIN.
Bytes object_policy(const SealedGroup& sealed);

// Whether signature, key, group and object belong together; "" or what does not. No TPM needed.
std::string contradiction(const SealedGroup& sealed);

}  // namespace volseal::tpm
