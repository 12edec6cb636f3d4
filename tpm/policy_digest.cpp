#include "tpm/policy_digest.h"

#include "core/base/error.h"
#include "tpm/selection.h"
#include "tpm/templates.h"

#include <openssl/evp.h>
#include <tss2/tss2_mu.h>

#include <array>
#include <memory>

namespace volseal::tpm {

namespace {

constexpr TPM2_EO less_or_equal = TPM2_EO_UNSIGNED_LE;

template <typename T>
Bytes big_endian(T value) {
  Bytes bytes(sizeof value);
  for (std::size_t i = 0; i < sizeof value; ++i) {
    bytes[i] = static_cast<std::uint8_t>(value >> 8U * (sizeof value - 1 - i));
  }
  return bytes;
}

const Bytes empty_session(sha256_size, 0);

}  // namespace

Bytes sha256(std::initializer_list<std::span<const std::uint8_t>> parts) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  Bytes digest(sha256_size);
  bool good = context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for (const auto part : parts)
    good = good && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  if (!good || EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) != 1) {
    throw Error(Code::internal, "compute a SHA-256");
  }
  return digest;
}

Bytes pcr_composite(const PcrValues& values) {
  Bytes all;
  for (const auto& [pcr, value] : values) all.insert(all.end(), value.begin(), value.end());
  return sha256({all});
}

Bytes after_policy_pcr(std::string_view bank, const std::vector<int>& pcrs,
                       const Bytes& composite) {
  const TPML_PCR_SELECTION selection = pcr_selection(bank, pcrs);
  std::array<std::uint8_t, sizeof selection> buffer{};
  std::size_t size = 0;
  if (Tss2_MU_TPML_PCR_SELECTION_Marshal(&selection, buffer.data(), buffer.size(), &size) !=
      TSS2_RC_SUCCESS) {
    throw Error(Code::internal, "marshal a PCR selection");
  }
  return sha256(
      {empty_session, big_endian(TPM2_CC_PolicyPCR), std::span(buffer).first(size), composite});
}

Bytes after_policy_or(const std::vector<Bytes>& branches) {
  Bytes all;
  for (const Bytes& branch : branches) all.insert(all.end(), branch.begin(), branch.end());
  return sha256({empty_session, big_endian(TPM2_CC_PolicyOR), all});
}

Bytes after_policy_nv(const Bytes& before, const Bytes& name, std::uint64_t sequence) {
  constexpr UINT16 offset = 0;
  const Bytes arguments =
      sha256({big_endian(sequence), big_endian(offset), big_endian(less_or_equal)});
  return sha256({before, big_endian(TPM2_CC_PolicyNV), arguments, name});
}

Bytes after_policy_authorize(const Bytes& key_name, const Bytes& ref) {
  const Bytes first = sha256({empty_session, big_endian(TPM2_CC_PolicyAuthorize), key_name});
  return sha256({first, ref});
}

Bytes after_policy_auth_value(const Bytes& before) {
  return sha256({before, big_endian(TPM2_CC_PolicyAuthValue)});
}

Bytes policy_ref(std::string_view group) {
  constexpr std::string_view label = "volseal/pcr-policy/1";
  const auto bytes = [](std::string_view text) {
    return std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  };
  return sha256({bytes(label), bytes(group)});
}

Bytes policy_key_name(const Bytes& key) {
  return name_of(verification_key(key));
}

Bytes counter_name(std::uint32_t index) {
  return name_of(counter_template(index, true));
}

}  // namespace volseal::tpm
