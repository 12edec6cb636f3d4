#include "tpm/sealing.h"

#include "tpm/policy_digest.h"

#include <openssl/evp.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_sys.h>

#include <array>

namespace volseal::tpm {

void forget_response(Connection::Impl& tpm) {
  TSS2_SYS_CONTEXT* sys = nullptr;
  std::size_t size = 0;
  const std::uint8_t* parameters = nullptr;
  if (Esys_GetSysContext(tpm.esys, &sys) == TSS2_RC_SUCCESS &&
      Tss2_Sys_GetRpBuffer(sys, &size, &parameters) == TSS2_RC_SUCCESS) {
    // The buffer is the context's own and writable; only the interface says const.
    wipe(const_cast<std::uint8_t*>(parameters),
         size);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  }
}

void forget_sensitive(Connection::Impl& tpm) {
  // ESYS keeps a copy of its arguments before it looks for the parent. A parent that does not exist
  // ends it there: the copy is overwritten and no command is sent.
  constexpr ESYS_TR nowhere = 0xfffffff0;
  const TPM2B_SENSITIVE_CREATE nothing{};
  const TPM2B_PUBLIC area{};
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  Esys_Create_Async(tpm.esys, nowhere, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &nothing,
                    &area, &outside, &no_pcrs);
}

SealedObject seal(Connection::Impl& tpm, const StorageRoot& root, const Secret& secret,
                  const Secret& auth, const SealedTemplate& choice) {
  // The session authorises the use of the storage root key (empty auth value) and carries the
  // encryption.
  TpmHandle session =
      start_session(tpm, root.handle, TPM2_SE_HMAC, TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT);
  const TPM2B_PUBLIC area = sealed_template(choice);
  TPM2B_SENSITIVE_CREATE sensitive{};
  const Finally clean([&] {
    wipe(&sensitive, sizeof sensitive);
    forget_sensitive(tpm);
  });
  sensitive.sensitive.data = sized<TPM2B_SENSITIVE_DATA>(secret.bytes(), "secret");
  sensitive.sensitive.userAuth = sized<TPM2B_AUTH>(auth.bytes(), "auth value");
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  EsysPtr<TPM2B_PRIVATE> made_private;
  EsysPtr<TPM2B_PUBLIC> made_public;
  tpm.command("seal the group secret", [&] {
    return Esys_Create(tpm.esys, root.handle.get(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE,
                       &sensitive, &area, &outside, &no_pcrs, out(made_private), out(made_public),
                       nullptr, nullptr, nullptr);
  });
  // Without "continue" the TPM has ended the session with that command.
  session.release();
  return {.public_area = marshalled(*made_public), .private_area = bytes_of(*made_private)};
}

Secret stretched(const Secret& pin, const PinStretch& stretch) {
  Secret auth(auth_size);
  if (PKCS5_PBKDF2_HMAC(pin.chars(), static_cast<int>(pin.size()), stretch.salt.data(),
                        static_cast<int>(stretch.salt.size()), static_cast<int>(stretch.iterations),
                        EVP_sha256(), static_cast<int>(auth.size()), auth.bytes().data()) != 1) {
    throw Error(Code::internal, "stretch a PIN");
  }
  // The TPM drops trailing zeros of auth values (Part 1, 19.6.4.3); both sides must mean the same.
  std::size_t size = auth.size();
  while (size > 0 && auth.bytes()[size - 1] == 0) --size;
  auth.truncate(size);
  return auth;
}

void approve(Connection::Impl& tpm, SealedGroup& sealed, const PolicyKey& key) {
  sealed.signature = key.sign(approval_digest(sealed));
  sealed.ticket = verification_ticket(tpm, sealed);
}

Bytes verification_ticket(Connection::Impl& tpm, const SealedGroup& sealed) {
  const TPM2B_PUBLIC area = verification_key(sealed.policy_key);
  ESYS_TR object = ESYS_TR_NONE;
  tpm.command("load the policy key", [&] {
    return Esys_LoadExternal(tpm.esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, nullptr, &area,
                             ESYS_TR_RH_OWNER, &object);
  });
  const TpmHandle key(tpm, object, TpmHandle::Kind::transient);
  const auto digest = sized<TPM2B_DIGEST>(approval_digest(sealed), "approval");
  TPMT_SIGNATURE signature{};
  signature.sigAlg = TPM2_ALG_ECDSA;
  signature.signature.ecdsa.hash = TPM2_ALG_SHA256;
  const std::span raw(sealed.signature);
  signature.signature.ecdsa.signatureR =
      sized<TPM2B_ECC_PARAMETER>(raw.first(coordinate_size), "signature");
  signature.signature.ecdsa.signatureS =
      sized<TPM2B_ECC_PARAMETER>(raw.last(coordinate_size), "signature");
  EsysPtr<TPMT_TK_VERIFIED> ticket;
  tpm.command("verify the approval", [&] {
    return Esys_VerifySignature(tpm.esys, key.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                &digest, &signature, out(ticket));
  });
  Bytes bytes(sizeof *ticket);
  std::size_t size = 0;
  tpm.command("keep the verification ticket", [&] {
    return Tss2_MU_TPMT_TK_VERIFIED_Marshal(ticket.get(), bytes.data(), bytes.size(), &size);
  });
  bytes.resize(size);
  return bytes;
}

PcrState pcr_state(const PcrValues& bound, std::int64_t now) {
  PcrState state{.approved = now, .composite = pcr_composite(bound), .prefixes = {}};
  for (const auto& [pcr, value] : bound) {
    state.prefixes.insert(state.prefixes.end(), value.begin(),
                          value.begin() + static_cast<std::ptrdiff_t>(SealedGroup::prefix_size));
  }
  return state;
}

}  // namespace volseal::tpm
