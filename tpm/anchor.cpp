#include "tpm/anchor.h"

#include "core/base/secret.h"
#include "core/base/strict_json.h"
#include "tpm/storage_root.h"
#include "tpm/templates.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace volseal::tpm {

namespace {

// Beside the revocation counters' part of the owner's range, left to chance like them.
constexpr std::uint32_t anchor_first_index = 0x01a57000;
constexpr std::uint32_t anchor_index_count = 0x1000;
constexpr int anchor_tries = 32;
constexpr std::size_t anchor_auth_size = 32;
constexpr std::uint16_t anchor_data_size = 8 + 32 + 16;
constexpr std::size_t anchor_max_area = 512;

struct AnchorPlace {
  std::uint32_t index = 0;
  Bytes srk;  // whose sessions only the TPM that it was made in can take part in
};

Path place_file(const Path& folder) {
  return folder / "anchor.json";
}
Path auth_file(const Path& folder) {
  return folder / "anchor.auth";
}

std::optional<AnchorPlace> load_place(const Path& folder) {
  const auto text = read_file_if_any(place_file(folder));
  if (!text) return std::nullopt;
  const std::string what = "the audit log's anchor";
  const nlohmann::json parsed = StrictJson::parse(*text, 8192, what);
  StrictJson json(parsed, what);
  if (json.number("version", 0, 1000) != 1) json.fail("written by a newer volseal");
  AnchorPlace place{.index = static_cast<std::uint32_t>(json.number(
                        "index", anchor_first_index, anchor_first_index + anchor_index_count - 1)),
                    .srk = json.bytes("srk", 1, anchor_max_area)};
  json.finish();
  return place;
}

void save_place(const Path& folder, const AnchorPlace& place) {
  const nlohmann::json json = {
      {"version", 1}, {"index", place.index}, {"srk", to_base64(place.srk)}};
  write_file(place_file(folder), json.dump() + "\n");
}

// An index that is there, whatever it is.
struct FoundIndex {
  TpmHandle handle;
  Bytes name;
};

std::optional<FoundIndex> find_index(Connection::Impl& tpm, std::uint32_t index) {
  ESYS_TR object = ESYS_TR_NONE;
  const TSS2_RC code = tpm.attempt([&] {
    return Esys_TR_FromTPMPublic(tpm.esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                 &object);
  });
  if (meaning_of(code) == Meaning::no_handle) return std::nullopt;
  if (code != TSS2_RC_SUCCESS) throw_tpm(code, "look for the audit log's NV index");
  FoundIndex found{.handle = TpmHandle(tpm, object, TpmHandle::Kind::persistent), .name = {}};
  EsysPtr<TPM2B_NAME> name;
  tpm.command("look at the audit log's NV index",
              [&] { return Esys_TR_GetName(tpm.esys, object, out(name)); });
  found.name = bytes_of(*name);
  return found;
}

void set_anchor_auth(Connection::Impl& tpm, const TpmHandle& handle, const Path& folder) {
  const Secret secret = read_secret(auth_file(folder), true);
  auto auth = sized<TPM2B_AUTH>(secret.bytes(), "the auth value of the audit log's NV index");
  const Finally clean([&] { wipe(&auth, sizeof auth); });
  tpm.command("set the auth value of the audit log's NV index",
              [&] { return Esys_TR_SetAuth(tpm.esys, handle.get(), &auth); });
}

void define_anchor(Connection::Impl& tpm, const AnchorPlace& place, const Path& folder) {
  const TPM2B_NV_PUBLIC area = anchor_template(place.index, anchor_data_size, false);
  const TpmHandle root = pinned_storage_root(tpm, place.srk);
  // The auth value does not cross the bus in clear.
  const TpmHandle session =
      start_session(tpm, root, TPM2_SE_HMAC, TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_DECRYPT);
  const Secret secret = read_secret(auth_file(folder), true);
  auto auth = sized<TPM2B_AUTH>(secret.bytes(), "the auth value of the audit log's NV index");
  const Finally clean([&] { wipe(&auth, sizeof auth); });
  ESYS_TR object = ESYS_TR_NONE;
  const TSS2_RC code = tpm.attempt([&] {
    return Esys_NV_DefineSpace(tpm.esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, session.get(),
                               ESYS_TR_NONE, &auth, &area, &object);
  });
  if (meaning_of(code) == Meaning::bad_auth || meaning_of(code) == Meaning::wrong_auth) {
    throw Error(Code::tpm_refused,
                "define the audit log's NV index: the TPM's owner hierarchy has a password, which "
                "volseal does not ask for");
  }
  if (code != TSS2_RC_SUCCESS) throw_tpm(code, "define the audit log's NV index");
  const TpmHandle forget(tpm, object, TpmHandle::Kind::persistent);
}

std::uint32_t free_index(Connection::Impl& tpm) {
  for (int i = 0; i < anchor_tries; ++i) {
    std::uint32_t value = 0;
    if (::getrandom(&value, sizeof value, 0) != sizeof value)
      throw_errno(errno, "choose an NV index");
    const std::uint32_t index = anchor_first_index + value % anchor_index_count;
    if (!find_index(tpm, index)) return index;
  }
  throw Error(Code::tpm_refused, "find a free NV index for the audit log");
}

Bytes name_when(std::uint32_t index, bool written) {
  return name_of(anchor_template(index, anchor_data_size, written));
}

// Written down before it is defined: a cut must not leave an index that nobody knows.
AnchorPlace make_place(Connection::Impl& tpm, const Path& folder) {
  AnchorPlace place{.index = free_index(tpm), .srk = open_or_make_storage_root(tpm).public_area};
  Secret auth = Secret::random(anchor_auth_size);
  // The TPM drops trailing zeros of auth values.
  auth.bytes()[anchor_auth_size - 1] |= 1U;
  make_folder(folder);
  write_secret_file(auth_file(folder), auth);
  save_place(folder, place);
  return place;
}

Bytes encoded_anchor(const LogAnchor& anchor) {
  Bytes bytes;
  for (unsigned shift = 64; shift > 0; shift -= 8)
    bytes.push_back(static_cast<std::uint8_t>(anchor.size >> (shift - 8)));
  bytes.insert(bytes.end(), anchor.root.begin(), anchor.root.end());
  bytes.insert(bytes.end(), anchor.log.begin(), anchor.log.end());
  return bytes;
}

LogAnchor decoded_anchor(const Bytes& bytes) {
  if (bytes.size() != anchor_data_size)
    throw Error(Code::tpm_refused, "read the audit log's NV index: it has another size");
  LogAnchor anchor;
  for (std::size_t i = 0; i < 8; ++i) anchor.size = anchor.size << 8U | bytes[i];
  const auto root = bytes.begin() + 8;
  std::copy_n(root, anchor.root.size(), anchor.root.begin());
  std::copy_n(root + 32, anchor.log.size(), anchor.log.begin());
  return anchor;
}

}  // namespace

bool has_anchor(const Path& folder) {
  std::error_code ignored;
  return std::filesystem::exists(place_file(folder), ignored);
}

AnchorReading read_anchor(Connection& tpm, const Path& folder) {
  auto& impl = tpm.impl();
  const auto place = load_place(folder);
  if (!place) return {};
  const auto found = find_index(impl, place->index);
  if (!found) return {.state = AnchorState::gone, .anchor = {}};
  if (found->name == name_when(place->index, false)) return {};
  if (found->name != name_when(place->index, true))
    return {.state = AnchorState::replaced, .anchor = {}};
  set_anchor_auth(impl, found->handle, folder);
  EsysPtr<TPM2B_MAX_NV_BUFFER> data;
  try {
    const TpmHandle root = pinned_storage_root(impl, place->srk);
    // The answer is authenticated by the auth value: nobody on the bus can make one up.
    const TpmHandle session = start_session(impl, root, TPM2_SE_HMAC,
                                            TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_ENCRYPT);
    impl.command("read the audit log's NV index", [&] {
      return Esys_NV_Read(impl.esys, found->handle.get(), found->handle.get(), session.get(),
                          ESYS_TR_NONE, ESYS_TR_NONE, anchor_data_size, 0, out(data));
    });
  } catch (const TpmError& error) {
    const Meaning meaning = error.meaning();
    if (meaning != Meaning::bad_auth && meaning != Meaning::wrong_auth) throw;
    return {.state = AnchorState::replaced, .anchor = {}};
  }
  return {.state = AnchorState::held, .anchor = decoded_anchor(bytes_of(*data))};
}

void write_anchor(Connection& tpm, const Path& folder, const LogAnchor& anchor) {
  auto& impl = tpm.impl();
  auto place = load_place(folder);
  const bool is_new = !place;
  if (!place) place = make_place(impl, folder);
  auto found = find_index(impl, place->index);
  if (!found && is_new) {
    define_anchor(impl, *place, folder);
    found = find_index(impl, place->index);
  }
  if (!found) throw Error(Code::tampered, "write the audit log's NV index: the TPM has it no more");
  if (found->name != name_when(place->index, true) && found->name != name_when(place->index, false))
    throw Error(Code::tampered, "write the audit log's NV index: another one is in its place");
  set_anchor_auth(impl, found->handle, folder);
  const TpmHandle root = pinned_storage_root(impl, place->srk);
  const TpmHandle session =
      start_session(impl, root, TPM2_SE_HMAC, TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_DECRYPT);
  const auto data = sized<TPM2B_MAX_NV_BUFFER>(encoded_anchor(anchor), "the audit log's anchor");
  try {
    impl.command("write the audit log's NV index", [&] {
      return Esys_NV_Write(impl.esys, found->handle.get(), found->handle.get(), session.get(),
                           ESYS_TR_NONE, ESYS_TR_NONE, &data, 0);
    });
  } catch (const TpmError& error) {
    if (error.meaning() != Meaning::bad_auth && error.meaning() != Meaning::wrong_auth) throw;
    throw Error(Code::tampered, "write the audit log's NV index: another one is in its place");
  }
}

void forget_anchor(Connection& tpm, const Path& folder) {
  auto& impl = tpm.impl();
  if (const auto place = load_place(folder)) {
    auto found = find_index(impl, place->index);
    // Nobody else's.
    if (found && (found->name == name_when(place->index, true) ||
                  found->name == name_when(place->index, false))) {
      ESYS_TR object = found->handle.get();
      impl.command("remove the audit log's NV index", [&] {
        return Esys_NV_UndefineSpace(impl.esys, ESYS_TR_RH_OWNER, object, ESYS_TR_PASSWORD,
                                     ESYS_TR_NONE, ESYS_TR_NONE);
      });
    }
  }
  std::filesystem::remove(place_file(folder));
  std::filesystem::remove(auth_file(folder));
}

}  // namespace volseal::tpm
