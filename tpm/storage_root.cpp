#include "tpm/storage_root.h"

#include "tpm/templates.h"

#include <tss2/tss2_mu.h>

namespace volseal::tpm {

namespace {

// What Esys_TR_Serialize writes: handle ‖ TPM2B_NAME ‖ type ‖ public area. systemd keeps the same
// in its tokens. Made here, it saves the ReadPublic that Esys_TR_FromTPMPublic costs.
constexpr std::uint32_t serialized_key = 1;
constexpr std::uint32_t serialized_nv = 2;

void append_u16(Bytes& bytes, std::size_t value) {
  bytes.push_back(static_cast<std::uint8_t>(value >> 8U));
  bytes.push_back(static_cast<std::uint8_t>(value));
}

void append_u32(Bytes& bytes, std::uint32_t value) {
  append_u16(bytes, value >> 16U);
  append_u16(bytes, value & 0xffffU);
}

TpmHandle deserialized(Connection::Impl& tpm, std::uint32_t handle, const Bytes& name,
                       std::uint32_t type, const Bytes& public_area) {
  Bytes bytes;
  append_u32(bytes, handle);
  append_u16(bytes, name.size());
  bytes.insert(bytes.end(), name.begin(), name.end());
  append_u32(bytes, type);
  bytes.insert(bytes.end(), public_area.begin(), public_area.end());
  ESYS_TR object = ESYS_TR_NONE;
  tpm.command("describe a pinned TPM object",
              [&] { return Esys_TR_Deserialize(tpm.esys, bytes.data(), bytes.size(), &object); });
  return {tpm, object, TpmHandle::Kind::persistent};
}

// Table 5 of the Provisioning Guidance, ECC or RSA: restricted, decrypting, bound to this TPM,
// usable with its (empty) auth value.
bool is_storage_root(const TPMT_PUBLIC& area) {
  constexpr TPMA_OBJECT needed = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                 TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_RESTRICTED |
                                 TPMA_OBJECT_DECRYPT;
  if ((area.objectAttributes & needed) != needed) return false;
  if (area.type == TPM2_ALG_ECC) {
    return area.parameters.eccDetail.symmetric.algorithm == TPM2_ALG_AES &&
           area.parameters.eccDetail.curveID == TPM2_ECC_NIST_P256;
  }
  return area.type == TPM2_ALG_RSA &&
         area.parameters.rsaDetail.symmetric.algorithm == TPM2_ALG_AES &&
         area.parameters.rsaDetail.keyBits >= 2048;
}

struct Present {
  TpmHandle handle;
  EsysPtr<TPM2B_PUBLIC> area;
};

Present read_storage_root(Connection::Impl& tpm) {
  ESYS_TR object = ESYS_TR_NONE;
  const TSS2_RC code = tpm.attempt([&] {
    return Esys_TR_FromTPMPublic(tpm.esys, srk_handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                 &object);
  });
  if (meaning_of(code) == Meaning::no_handle) return {};
  if (code != TSS2_RC_SUCCESS) throw_tpm(code, "read the storage root key");
  Present present{.handle = TpmHandle(tpm, object, TpmHandle::Kind::persistent), .area = nullptr};
  tpm.command("read the storage root key", [&] {
    return Esys_ReadPublic(tpm.esys, object, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                           out(present.area), nullptr, nullptr);
  });
  return present;
}

struct Primary {
  TpmHandle handle;
  EsysPtr<TPM2B_PUBLIC> area;
};

Primary create_primary(Connection::Impl& tpm) {
  const TPM2B_PUBLIC area = srk_template();
  const TPM2B_SENSITIVE_CREATE sensitive{};
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  ESYS_TR handle = ESYS_TR_NONE;
  Primary primary;
  tpm.command("make a storage root key", [&] {
    return Esys_CreatePrimary(tpm.esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                              ESYS_TR_NONE, &sensitive, &area, &outside, &no_pcrs, &handle,
                              out(primary.area), nullptr, nullptr, nullptr);
  });
  primary.handle = TpmHandle(tpm, handle, TpmHandle::Kind::transient);
  return primary;
}

void make_storage_root(Connection::Impl& tpm) {
  try {
    const Primary primary = create_primary(tpm);
    ESYS_TR persistent = ESYS_TR_NONE;
    tpm.command("make the storage root key persistent", [&] {
      return Esys_EvictControl(tpm.esys, ESYS_TR_RH_OWNER, primary.handle.get(), ESYS_TR_PASSWORD,
                               ESYS_TR_NONE, ESYS_TR_NONE, srk_handle, &persistent);
    });
    const TpmHandle forget(tpm, persistent, TpmHandle::Kind::persistent);
  } catch (const TpmError& error) {
    if (error.meaning() != Meaning::bad_auth && error.meaning() != Meaning::wrong_auth) throw;
    throw Error(Code::tpm_refused,
                "make a storage root key: the TPM's owner hierarchy has a password; make one at "
                "0x81000001 with it (tpm2_createprimary, tpm2_evictcontrol) and try again");
  }
}

}  // namespace

StorageRoot open_or_make_storage_root(Connection::Impl& tpm) {
  Present present = read_storage_root(tpm);
  if (!present.handle) {
    make_storage_root(tpm);
    present = read_storage_root(tpm);
    if (!present.handle) throw Error(Code::tpm_refused, "make a storage root key: it did not stay");
  }
  if (!is_storage_root(present.area->publicArea)) {
    throw Error(Code::tpm_refused,
                "use the key at 0x81000001: it is no storage root key (P-256 or RSA, restricted, "
                "decrypting)");
  }
  return {.handle = std::move(present.handle), .public_area = marshalled(*present.area)};
}

TpmHandle pinned_storage_root(Connection::Impl& tpm, const Bytes& public_area) {
  const TPM2B_PUBLIC area = unmarshalled_public(public_area);
  if (!is_storage_root(area.publicArea)) {
    throw Error(Code::damaged, "use the pinned storage root key: it is none");
  }
  return deserialized(tpm, srk_handle, name_of(area), serialized_key, public_area);
}

TpmHandle transient_storage_root(Connection::Impl& tpm, const Bytes& public_area) {
  Primary primary = create_primary(tpm);
  if (marshalled(*primary.area) != public_area) return {};
  return std::move(primary.handle);
}

Bytes present_storage_root(Connection::Impl& tpm) {
  const Present present = read_storage_root(tpm);
  return present.handle ? marshalled(*present.area) : Bytes{};
}

TpmHandle pinned_counter(Connection::Impl& tpm, std::uint32_t index) {
  const TPM2B_NV_PUBLIC area = counter_template(index, true);
  Bytes bytes(sizeof area);
  std::size_t size = 0;
  tpm.command("describe the revocation counter", [&] {
    return Tss2_MU_TPM2B_NV_PUBLIC_Marshal(&area, bytes.data(), bytes.size(), &size);
  });
  bytes.resize(size);
  return deserialized(tpm, index, name_of(area), serialized_nv, bytes);
}

TpmHandle start_session(Connection::Impl& tpm, const TpmHandle& root, TPM2_SE type,
                        TPMA_SESSION attributes) {
  TPMT_SYM_DEF symmetric{};
  symmetric.algorithm = TPM2_ALG_AES;
  symmetric.keyBits.aes = 128;
  symmetric.mode.aes = TPM2_ALG_CFB;
  ESYS_TR session = ESYS_TR_NONE;
  tpm.command("start a session with the TPM", [&] {
    return Esys_StartAuthSession(tpm.esys, root.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                 ESYS_TR_NONE, nullptr, type, &symmetric, TPM2_ALG_SHA256,
                                 &session);
  });
  TpmHandle handle(tpm, session, TpmHandle::Kind::transient);
  tpm.command("set up a session with the TPM", [&] {
    constexpr TPMA_SESSION all = 0xff;
    return Esys_TRSess_SetAttributes(tpm.esys, session, attributes, all);
  });
  return handle;
}

}  // namespace volseal::tpm
