#include "tpm/templates.h"

#include "core/base/error.h"
#include "tpm/esys.h"
#include "tpm/policy_digest.h"
#include "tpm/policy_key.h"

#include <openssl/evp.h>
#include <tss2/tss2_mu.h>

#include <array>

namespace volseal::tpm {

namespace {

const EVP_MD* digest_of(TPM2_ALG_ID algorithm) {
  switch (algorithm) {
    case TPM2_ALG_SHA256: return EVP_sha256();
    case TPM2_ALG_SHA384: return EVP_sha384();
    case TPM2_ALG_SHA512: return EVP_sha512();
    default:
      throw Error(Code::tpm_refused, "name of a TPM object: hash {:#x} is not used", algorithm);
  }
}

Bytes name_from(TPM2_ALG_ID algorithm, std::span<const std::uint8_t> area) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(area.data(), area.size(), digest.data(), &size, digest_of(algorithm), nullptr) !=
      1) {
    throw Error(Code::internal, "hash a public area");
  }
  Bytes name = {static_cast<std::uint8_t>(algorithm >> 8U), static_cast<std::uint8_t>(algorithm)};
  name.insert(name.end(), digest.begin(), digest.begin() + size);
  return name;
}

}  // namespace

TPM2B_PUBLIC srk_template() {
  TPM2B_PUBLIC result{};
  TPMT_PUBLIC& area = result.publicArea;
  area.type = TPM2_ALG_ECC;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                          TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                          TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;
  TPMS_ECC_PARMS& ecc = area.parameters.eccDetail;
  ecc.symmetric.algorithm = TPM2_ALG_AES;
  ecc.symmetric.keyBits.aes = 128;
  ecc.symmetric.mode.aes = TPM2_ALG_CFB;
  ecc.scheme.scheme = TPM2_ALG_NULL;
  ecc.curveID = TPM2_ECC_NIST_P256;
  ecc.kdf.scheme = TPM2_ALG_NULL;
  area.unique.ecc.x.size = coordinate_size;
  area.unique.ecc.y.size = coordinate_size;
  return result;
}

TPM2B_PUBLIC verification_key(const Bytes& key) {
  if (key.size() != 2 * coordinate_size)
    throw Error(Code::damaged, "policy key: not a P-256 point");
  TPM2B_PUBLIC result{};
  TPMT_PUBLIC& area = result.publicArea;
  area.type = TPM2_ALG_ECC;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_USERWITHAUTH;
  TPMS_ECC_PARMS& ecc = area.parameters.eccDetail;
  ecc.symmetric.algorithm = TPM2_ALG_NULL;
  ecc.scheme.scheme = TPM2_ALG_ECDSA;
  ecc.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA256;
  ecc.curveID = TPM2_ECC_NIST_P256;
  ecc.kdf.scheme = TPM2_ALG_NULL;
  const std::span point(key);
  area.unique.ecc.x = sized<TPM2B_ECC_PARAMETER>(point.first(coordinate_size), "policy key");
  area.unique.ecc.y = sized<TPM2B_ECC_PARAMETER>(point.last(coordinate_size), "policy key");
  return result;
}

TPM2B_NV_PUBLIC counter_template(std::uint32_t index, bool written) {
  TPM2B_NV_PUBLIC result{};
  result.nvPublic.nvIndex = index;
  result.nvPublic.nameAlg = TPM2_ALG_SHA256;
  // noDA: reading it must work while somebody guesses PINs.
  result.nvPublic.attributes = TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD |
                               TPMA_NV_NO_DA | TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT;
  if (written) result.nvPublic.attributes |= TPMA_NV_WRITTEN;
  result.nvPublic.dataSize = 8;
  return result;
}

TPM2B_NV_PUBLIC anchor_template(std::uint32_t index, std::uint16_t size, bool written) {
  TPM2B_NV_PUBLIC result{};
  result.nvPublic.nvIndex = index;
  result.nvPublic.nameAlg = TPM2_ALG_SHA256;
  result.nvPublic.attributes = TPMA_NV_AUTHWRITE | TPMA_NV_AUTHREAD | TPMA_NV_NO_DA;
  if (written) result.nvPublic.attributes |= TPMA_NV_WRITTEN;
  result.nvPublic.dataSize = size;
  return result;
}

TPM2B_PUBLIC sealed_template(const SealedTemplate& choice) {
  TPM2B_PUBLIC result{};
  TPMT_PUBLIC& area = result.publicArea;
  area.type = TPM2_ALG_KEYEDHASH;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT;
  if (!choice.guessable) area.objectAttributes |= TPMA_OBJECT_NODA;
  if (choice.by_auth) area.objectAttributes |= TPMA_OBJECT_USERWITHAUTH;
  area.authPolicy = sized<TPM2B_DIGEST>(choice.auth_policy, "policy");
  area.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL;
  return result;
}

Bytes marshalled(const TPM2B_PUBLIC& value) {
  Bytes bytes(sizeof value);
  std::size_t size = 0;
  if (Tss2_MU_TPM2B_PUBLIC_Marshal(&value, bytes.data(), bytes.size(), &size) != TSS2_RC_SUCCESS) {
    throw Error(Code::internal, "marshal a public area");
  }
  bytes.resize(size);
  return bytes;
}

TPM2B_PUBLIC unmarshalled_public(const Bytes& bytes) {
  TPM2B_PUBLIC value{};
  std::size_t offset = 0;
  const TSS2_RC code = Tss2_MU_TPM2B_PUBLIC_Unmarshal(bytes.data(), bytes.size(), &offset, &value);
  if (code != TSS2_RC_SUCCESS || offset != bytes.size()) {
    throw Error(Code::damaged, "read a public area: it contradicts itself");
  }
  return value;
}

Bytes name_of(const TPM2B_PUBLIC& value) {
  Bytes bytes(sizeof value);
  std::size_t size = 0;
  if (Tss2_MU_TPMT_PUBLIC_Marshal(&value.publicArea, bytes.data(), bytes.size(), &size) !=
      TSS2_RC_SUCCESS) {
    throw Error(Code::internal, "marshal a public area");
  }
  return name_from(value.publicArea.nameAlg, std::span(bytes).first(size));
}

Bytes name_of(const TPM2B_NV_PUBLIC& value) {
  Bytes bytes(sizeof value);
  std::size_t size = 0;
  if (Tss2_MU_TPMS_NV_PUBLIC_Marshal(&value.nvPublic, bytes.data(), bytes.size(), &size) !=
      TSS2_RC_SUCCESS) {
    throw Error(Code::internal, "marshal an NV public area");
  }
  return name_from(value.nvPublic.nameAlg, std::span(bytes).first(size));
}

}  // namespace volseal::tpm
