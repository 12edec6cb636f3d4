#include "tpm/counter.h"

#include "tpm/storage_root.h"
#include "tpm/templates.h"

#include <sys/random.h>

namespace volseal::tpm {

namespace {

// A part of the owner's range (TCG registry of reserved handles) that we leave to chance, so that
// groups of several installations do not meet.
constexpr std::uint32_t first_index = 0x01a56000;
constexpr std::uint32_t index_count = 0x1000;
constexpr int tries = 32;

bool exists(Connection::Impl& tpm, std::uint32_t index, Bytes& name) {
  ESYS_TR object = ESYS_TR_NONE;
  const TSS2_RC code = tpm.attempt([&] {
    return Esys_TR_FromTPMPublic(tpm.esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                 &object);
  });
  if (meaning_of(code) == Meaning::no_handle) return false;
  if (code != TSS2_RC_SUCCESS) throw_tpm(code, "look for the revocation counter");
  const TpmHandle handle(tpm, object, TpmHandle::Kind::persistent);
  EsysPtr<TPM2B_NAME> read;
  tpm.command("look at the revocation counter",
              [&] { return Esys_TR_GetName(tpm.esys, object, out(read)); });
  name = bytes_of(*read);
  return true;
}

// False where the index is taken already.
bool define(Connection::Impl& tpm, std::uint32_t index) {
  const TPM2B_NV_PUBLIC area = counter_template(index, false);
  const TPM2B_AUTH no_auth{};
  ESYS_TR object = ESYS_TR_NONE;
  const TSS2_RC code = tpm.attempt([&] {
    return Esys_NV_DefineSpace(tpm.esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                               ESYS_TR_NONE, &no_auth, &area, &object);
  });
  if (meaning_of(code) == Meaning::defined) return false;
  if (meaning_of(code) == Meaning::bad_auth || meaning_of(code) == Meaning::wrong_auth) {
    throw Error(
        Code::tpm_refused,
        "define a revocation counter: the TPM's owner hierarchy has a password, which volseal does "
        "not ask for");
  }
  if (code != TSS2_RC_SUCCESS) throw_tpm(code, "define a revocation counter");
  const TpmHandle forget(tpm, object, TpmHandle::Kind::persistent);
  return true;
}

TpmHandle open_counter(Connection::Impl& tpm, std::uint32_t index) {
  ESYS_TR object = ESYS_TR_NONE;
  tpm.command("open the revocation counter", [&] {
    return Esys_TR_FromTPMPublic(tpm.esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                 &object);
  });
  return {tpm, object, TpmHandle::Kind::persistent};
}

std::uint32_t random_index() {
  std::uint32_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value)
    throw_errno(errno, "choose an NV index");
  return first_index + value % index_count;
}

}  // namespace

std::uint32_t make_counter(Connection& tpm, const GroupState& state) {
  auto& impl = tpm.impl();
  std::optional<std::uint32_t> index = state.counter();
  for (int i = 0; i < tries; ++i) {
    if (!index) {
      index = random_index();
      Bytes taken;
      if (exists(impl, *index, taken)) {
        index.reset();
        continue;
      }
      // Written down first: a power cut after the definition must not leave an index that nobody
      // knows.
      state.save_counter(*index);
    }
    Bytes name;
    if (!exists(impl, *index, name)) {
      define(impl, *index);
      name = name_of(counter_template(*index, false));
    }
    if (name == name_of(counter_template(*index, false)))
      increment_counter(tpm, *index);
    else if (name != name_of(counter_template(*index, true))) {
      // Somebody else's: leave it alone.
      index.reset();
      continue;
    }
    return *index;
  }
  throw Error(Code::tpm_refused, "find a free NV index for the revocation counter");
}

std::uint64_t read_counter(Connection& tpm, std::uint32_t index) {
  auto& impl = tpm.impl();
  const TpmHandle counter = pinned_counter(impl, index);
  EsysPtr<TPM2B_MAX_NV_BUFFER> data;
  impl.command("read the revocation counter", [&] {
    return Esys_NV_Read(impl.esys, counter.get(), counter.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE,
                        ESYS_TR_NONE, 8, 0, out(data));
  });
  std::uint64_t value = 0;
  for (const std::uint8_t byte : bytes_of(*data)) value = value << 8U | byte;
  return value;
}

void increment_counter(Connection& tpm, std::uint32_t index) {
  auto& impl = tpm.impl();
  const TpmHandle counter = open_counter(impl, index);
  impl.command("count up the revocation counter", [&] {
    return Esys_NV_Increment(impl.esys, ESYS_TR_RH_OWNER, counter.get(), ESYS_TR_PASSWORD,
                             ESYS_TR_NONE, ESYS_TR_NONE);
  });
}

CounterState look_at_counter(Connection& tpm, std::uint32_t index) {
  Bytes name;
  if (!exists(tpm.impl(), index, name)) return CounterState::none;
  const bool ours = name == name_of(counter_template(index, true)) ||
                    name == name_of(counter_template(index, false));
  return ours ? CounterState::ours : CounterState::foreign;
}

void remove_counter(Connection& tpm, std::uint32_t index) {
  auto& impl = tpm.impl();
  const TpmHandle counter = open_counter(impl, index);
  ESYS_TR object = counter.get();
  impl.command("remove the revocation counter", [&] {
    return Esys_NV_UndefineSpace(impl.esys, ESYS_TR_RH_OWNER, object, ESYS_TR_PASSWORD,
                                 ESYS_TR_NONE, ESYS_TR_NONE);
  });
}

}  // namespace volseal::tpm
