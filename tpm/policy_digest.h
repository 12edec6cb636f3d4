// Policy digests (TPM 2.0 Part 3, chapter 23) computed in software: approving a boot state costs
// the TPM nothing. Everything is SHA-256.
#pragma once

#include "core/base/base64.h"
#include "tpm/pcr.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace volseal::tpm {

inline constexpr std::size_t sha256_size = 32;

Bytes sha256(std::initializer_list<std::span<const std::uint8_t>> parts);

// The digest that PolicyPCR takes: of the values of these PCRs, in their order.
Bytes pcr_composite(const PcrValues& values);

// What a policy session's digest is after these commands, from an empty session.
Bytes after_policy_pcr(std::string_view bank, const std::vector<int>& pcrs, const Bytes& composite);
Bytes after_policy_or(const std::vector<Bytes>& branches);
// PolicyNV(counter <= sequence) upon `before`.
Bytes after_policy_nv(const Bytes& before, const Bytes& counter_name, std::uint64_t sequence);
Bytes after_policy_authorize(const Bytes& key_name, const Bytes& policy_ref);
Bytes after_policy_auth_value(const Bytes& before);

// SHA-256("volseal/pcr-policy/1" ‖ group name): an approval for one group is none for another.
Bytes policy_ref(std::string_view group);

// The name of a P-256 verification key (64 bytes: x ‖ y) as LoadExternal gives it.
Bytes policy_key_name(const Bytes& key);
// The name of the group's revocation counter, which has been written to.
Bytes counter_name(std::uint32_t index);

}  // namespace volseal::tpm
