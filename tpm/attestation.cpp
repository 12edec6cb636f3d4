#include "tpm/attestation.h"

#include "core/base/strict_json.h"
#include "tpm/esys.h"
#include "tpm/policy_key.h"
#include "tpm/selection.h"
#include "tpm/storage_root.h"
#include "tpm/templates.h"

#include <openssl/ec.h>
#include <tss2/tss2_mu.h>

#include <algorithm>
#include <array>

namespace volseal::tpm {

namespace {

constexpr std::size_t most_area = 1024;
constexpr std::size_t hash_at_once = 1024;  // TPM2_MAX_DIGEST_BUFFER of every TPM

TPM2B_PUBLIC attestation_template() {
  TPM2B_PUBLIC result{};
  TPMT_PUBLIC& area = result.publicArea;
  area.type = TPM2_ALG_ECC;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                          TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                          TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT;
  TPMS_ECC_PARMS& ecc = area.parameters.eccDetail;
  ecc.symmetric.algorithm = TPM2_ALG_NULL;
  ecc.scheme.scheme = TPM2_ALG_ECDSA;
  ecc.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA256;
  ecc.curveID = TPM2_ECC_NIST_P256;
  ecc.kdf.scheme = TPM2_ALG_NULL;
  return result;
}

Bytes point_of(const TPM2B_PUBLIC& area) {
  Bytes point;
  for (const TPM2B_ECC_PARAMETER* part :
       {&area.publicArea.unique.ecc.x, &area.publicArea.unique.ecc.y}) {
    const std::span raw(part->buffer, std::min<std::size_t>(part->size, coordinate_size));
    point.insert(point.end(), coordinate_size - raw.size(), 0);
    point.insert(point.end(), raw.begin(), raw.end());
  }
  return point;
}

Bytes der_of(const TPMT_SIGNATURE& signature) {
  if (signature.sigAlg != TPM2_ALG_ECDSA)
    throw Error(Code::tpm_refused, "sign with the attestation key: not by ECDSA");
  const TPMS_SIGNATURE_ECDSA& raw = signature.signature.ecdsa;
  const Handle<ECDSA_SIG, ECDSA_SIG_free> pair(ECDSA_SIG_new());
  BIGNUM* r = BN_bin2bn(raw.signatureR.buffer, raw.signatureR.size, nullptr);
  BIGNUM* s = BN_bin2bn(raw.signatureS.buffer, raw.signatureS.size, nullptr);
  if (!pair || ECDSA_SIG_set0(pair.get(), r, s) != 1) {
    BN_free(r);
    BN_free(s);
    throw Error(Code::internal, "write a signature: libcrypto refused");
  }
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(pair.get(), &der);
  if (size <= 0) throw Error(Code::internal, "write a signature: libcrypto refused");
  Bytes bytes(der, der + size);
  OPENSSL_free(der);
  return bytes;
}

TpmHandle load_key(Connection::Impl& tpm, const Bytes& srk, const Bytes& public_area,
                   const Bytes& private_area) {
  const TpmHandle root = pinned_storage_root(tpm, srk);
  const TPM2B_PUBLIC area = unmarshalled_public(public_area);
  const auto sensitive = sized<TPM2B_PRIVATE>(private_area, "attestation key");
  ESYS_TR handle = ESYS_TR_NONE;
  tpm.command("load the attestation key", [&] {
    return Esys_Load(tpm.esys, root.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
                     &area, &handle);
  });
  return {tpm, handle, TpmHandle::Kind::transient};
}

struct Hashed {
  EsysPtr<TPM2B_DIGEST> digest;
  EsysPtr<TPMT_TK_HASHCHECK> ticket;  // the TPM's word that this does not look like a quote
};

Hashed hash_in_tpm(Connection::Impl& tpm, std::string_view message) {
  const TPM2B_AUTH no_auth{};
  ESYS_TR handle = ESYS_TR_NONE;
  tpm.command("begin a hash in the TPM", [&] {
    return Esys_HashSequenceStart(tpm.esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &no_auth,
                                  TPM2_ALG_SHA256, &handle);
  });
  TpmHandle sequence(tpm, handle, TpmHandle::Kind::transient);
  const auto part = [&](std::string_view text) {
    return sized<TPM2B_MAX_BUFFER>(
        std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()), "message");
  };
  while (message.size() > hash_at_once) {
    const TPM2B_MAX_BUFFER next = part(message.substr(0, hash_at_once));
    tpm.command("hash in the TPM", [&] {
      return Esys_SequenceUpdate(tpm.esys, sequence.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &next);
    });
    message.remove_prefix(hash_at_once);
  }
  const TPM2B_MAX_BUFFER last = part(message);
  Hashed hashed;
  tpm.command("end a hash in the TPM", [&] {
    return Esys_SequenceComplete(tpm.esys, sequence.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &last, ESYS_TR_RH_OWNER, out(hashed.digest),
                                 out(hashed.ticket));
  });
  // SequenceComplete has flushed it.
  sequence.release();
  return hashed;
}

std::string quoted_bank(TPM2_ALG_ID algorithm) {
  switch (algorithm) {
    case TPM2_ALG_SHA256: return "sha256";
    case TPM2_ALG_SHA384: return "sha384";
    case TPM2_ALG_SHA512: return "sha512";
    default: throw Error(Code::bad_evidence, "quote: of a bank that is not used");
  }
}

}  // namespace

AttestationKey AttestationKey::open_or_make(Connection& tpm, const Path& state) {
  const Path file = state / "attestation" / "key.json";
  auto& impl = tpm.impl();
  AttestationKey key;
  if (const auto text = read_file_if_any(file)) {
    const std::string what = "attestation key " + file.native();
    const nlohmann::json parsed = StrictJson::parse(*text, 16384, what);
    StrictJson json(parsed, what);
    if (json.number("version", 0, 1000) != 1) json.fail("written by a newer volseal");
    key.srk_ = json.bytes("srk", 1, most_area);
    key.public_area_ = json.bytes("public", 1, most_area);
    key.private_area_ = json.bytes("private", 1, most_area);
    json.finish();
    const TPM2B_PUBLIC area = unmarshalled_public(key.public_area_);
    const TPM2B_PUBLIC expected = attestation_template();
    if (area.publicArea.type != TPM2_ALG_ECC ||
        area.publicArea.objectAttributes != expected.publicArea.objectAttributes) {
      throw Error(Code::damaged, "{}: not an attestation key", what);
    }
    key.public_point_ = point_of(area);
    return key;
  }
  const StorageRoot root = open_or_make_storage_root(impl);
  const TPM2B_PUBLIC area = attestation_template();
  const TPM2B_SENSITIVE_CREATE no_auth{};
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  EsysPtr<TPM2B_PRIVATE> made_private;
  EsysPtr<TPM2B_PUBLIC> made_public;
  impl.command("make an attestation key", [&] {
    return Esys_Create(impl.esys, root.handle.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                       &no_auth, &area, &outside, &no_pcrs, out(made_private), out(made_public),
                       nullptr, nullptr, nullptr);
  });
  key.srk_ = root.public_area;
  key.public_area_ = marshalled(*made_public);
  key.private_area_ = bytes_of(*made_private);
  key.public_point_ = point_of(*made_public);
  const nlohmann::json json = {{"version", 1},
                               {"srk", to_base64(key.srk_)},
                               {"public", to_base64(key.public_area_)},
                               {"private", to_base64(key.private_area_)}};
  make_folder(file.parent_path());
  write_file(file, json.dump(1) + "\n");
  return key;
}

Quote AttestationKey::quote(Connection& tpm, const Bytes& qualifying, std::string_view bank,
                            const std::vector<int>& pcrs) const {
  auto& impl = tpm.impl();
  const TpmHandle key = load_key(impl, srk_, public_area_, private_area_);
  const auto data = sized<TPM2B_DATA>(qualifying, "qualifying data");
  const TPMT_SIG_SCHEME as_the_key_says{.scheme = TPM2_ALG_NULL, .details = {}};
  const TPML_PCR_SELECTION selection = pcr_selection(bank, pcrs);
  EsysPtr<TPM2B_ATTEST> attest;
  EsysPtr<TPMT_SIGNATURE> signature;
  impl.command("quote the PCRs", [&] {
    return Esys_Quote(impl.esys, key.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &data,
                      &as_the_key_says, &selection, out(attest), out(signature));
  });
  return {.attest = {attest->attestationData, attest->attestationData + attest->size},
          .signature = der_of(*signature)};
}

Bytes AttestationKey::sign(Connection& tpm, std::string_view message) const {
  auto& impl = tpm.impl();
  const Hashed hashed = hash_in_tpm(impl, message);
  const TpmHandle key = load_key(impl, srk_, public_area_, private_area_);
  const TPMT_SIG_SCHEME as_the_key_says{.scheme = TPM2_ALG_NULL, .details = {}};
  EsysPtr<TPMT_SIGNATURE> signature;
  impl.command("sign with the attestation key", [&] {
    return Esys_Sign(impl.esys, key.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                     hashed.digest.get(), &as_the_key_says, hashed.ticket.get(), out(signature));
  });
  return der_of(*signature);
}

QuoteFacts parse_quote(std::span<const std::uint8_t> attest) {
  const auto fail = [](std::string_view why) { throw Error(Code::bad_evidence, "quote: {}", why); };
  TPMS_ATTEST parsed{};
  std::size_t at = 0;
  if (attest.empty() || attest.size() > sizeof(TPMS_ATTEST) ||
      Tss2_MU_TPMS_ATTEST_Unmarshal(attest.data(), attest.size(), &at, &parsed) !=
          TSS2_RC_SUCCESS ||
      at != attest.size()) {
    fail("not a TPM's attestation");
  }
  if (parsed.magic != TPM2_GENERATED_VALUE) fail("not made by a TPM");
  if (parsed.type != TPM2_ST_ATTEST_QUOTE) fail("an attestation of something else");
  const TPMS_QUOTE_INFO& quote = parsed.attested.quote;
  if (quote.pcrSelect.count != 1) fail("not of one bank");
  QuoteFacts facts{.qualifying = bytes_of(parsed.extraData),
                   .bank = quoted_bank(quote.pcrSelect.pcrSelections[0].hash),
                   .pcr_digest = bytes_of(quote.pcrDigest),
                   .clock_ms = parsed.clockInfo.clock,
                   .resets = parsed.clockInfo.resetCount,
                   .restarts = parsed.clockInfo.restartCount,
                   .firmware = parsed.firmwareVersion};
  const TPMS_PCR_SELECTION& selection = quote.pcrSelect.pcrSelections[0];
  for (unsigned pcr = 0; pcr < 8U * std::min<unsigned>(selection.sizeofSelect, 3); ++pcr) {
    if ((selection.pcrSelect[pcr / 8] >> pcr % 8 & 1U) != 0)
      facts.pcrs.push_back(static_cast<int>(pcr));
  }
  if (selection.sizeofSelect > 3) fail("of PCRs that do not exist");
  return facts;
}

}  // namespace volseal::tpm
