#include "tpm/late.h"

#include "core/base/strict_json.h"
#include "tpm/sealing.h"

namespace volseal::tpm {

namespace {

constexpr std::size_t max_area = 512;

struct LateCopy {
  Bytes srk;
  SealedObject object;
};

LateCopy parse_late(std::string_view text) {
  const std::string what = "late copy";
  const nlohmann::json parsed = StrictJson::parse(text, SealedGroup::max_text, what);
  StrictJson json(parsed, what);
  if (json.number("version", 0, 1000) != 1) json.fail("written by a newer volseal");
  LateCopy late;
  late.srk = json.bytes("srk", 1, max_area);
  late.object.public_area = json.bytes("public", 1, max_area);
  late.object.private_area = json.bytes("private", 1, max_area);
  json.finish();
  return late;
}

Secret unseal_late(Connection::Impl& tpm, const LateCopy& late, const Secret& auth_value) {
  const TpmHandle root = pinned_storage_root(tpm, late.srk);
  TpmHandle session = start_session(tpm, root, TPM2_SE_HMAC, TPMA_SESSION_ENCRYPT);
  const TPM2B_PUBLIC area = unmarshalled_public(late.object.public_area);
  const auto private_area = sized<TPM2B_PRIVATE>(late.object.private_area, "late copy");
  ESYS_TR handle = ESYS_TR_NONE;
  tpm.command("load the late copy", [&] {
    return Esys_Load(tpm.esys, root.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                     &private_area, &area, &handle);
  });
  const TpmHandle object(tpm, handle, TpmHandle::Kind::transient);
  auto auth = sized<TPM2B_AUTH>(auth_value.bytes(), "auth value of the late copy");
  const Finally clean([&] {
    wipe(&auth, sizeof auth);
    Esys_TR_SetAuth(tpm.esys, object.get(), &auth);
  });
  tpm.command("set the auth value of the late copy",
              [&] { return Esys_TR_SetAuth(tpm.esys, object.get(), &auth); });
  EsysPtr<TPM2B_SENSITIVE_DATA> data;
  tpm.command("unseal the late copy", [&] {
    return Esys_Unseal(tpm.esys, object.get(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE,
                       out(data));
  });
  session.release();
  forget_response(tpm);
  const Finally wipe_data([&] { wipe(data.get(), sizeof *data); });
  return Secret::copy_of(std::span<const std::uint8_t>(data->buffer, data->size));
}

}  // namespace

void make_late_copy(Connection& tpm, const GroupState& state, const Secret& group_secret) {
  auto& impl = tpm.impl();
  const StorageRoot root = open_or_make_storage_root(impl);
  Secret auth = Secret::random(auth_size);
  // The TPM drops trailing zeros of auth values.
  auth.bytes()[auth_size - 1] |= 1U;
  const SealedObject object =
      seal(impl, root, group_secret, auth, {.auth_policy = {}, .by_auth = true});
  const nlohmann::json json = {{"version", 1},
                               {"srk", to_base64(root.public_area)},
                               {"public", to_base64(object.public_area)},
                               {"private", to_base64(object.private_area)}};
  state.save_late(json.dump(), auth);
}

GroupKey recover_late(Connection& tpm, const GroupState& state) {
  GroupKey key;
  try {
    const auto text = state.late();
    const auto auth = state.late_auth();
    if (!text || !auth) {
      key.reason = "the group has no late copy";
      return key;
    }
    const LateCopy late = parse_late(*text);
    try {
      key.secret = unseal_late(tpm.impl(), late, *auth);
      key.outcome = Outcome::opened;
    } catch (const TpmError& error) {
      const bool silent = error.meaning() == Meaning::failure_mode ||
                          error.meaning() == Meaning::gone || error.meaning() == Meaning::busy ||
                          error.meaning() == Meaning::full;
      key.reason = error.what();
      if (silent) return key;
      const bool mine = present_storage_root(tpm.impl()) == late.srk;
      key.outcome = mine ? Outcome::damaged : Outcome::not_mine;
    }
  } catch (const Error& error) {
    key.outcome = error.code() == Code::damaged ? Outcome::damaged : Outcome::unavailable;
    key.reason = error.what();
  }
  return key;
}

}  // namespace volseal::tpm
