// The sealed text of a token is refused with Error{damaged}, or it is one: then what is written of
// it is read back as the same, and asking whether it contradicts itself ends in an answer.
#include "core/base/error.h"
#include "tpm/policy_key.h"
#include "tpm/sealed_group.h"
#include "tpm/templates.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace volseal;

template <typename Call>
void answers(Call call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.code() != Code::damaged && error.code() != Code::tpm_refused) std::abort();
  }
}

// Who writes a header has a policy key of his own and signs with it: only then is the object behind
// the signature looked at.
tpm::SealedGroup signed_by_the_attacker(tpm::SealedGroup sealed) {
  static const tpm::PolicyKey key = tpm::PolicyKey::generate();
  sealed.policy_key = key.public_point();
  sealed.signature = key.sign(approval_digest(sealed));
  return sealed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tpm::SealedGroup sealed;
  try {
    sealed = tpm::parse_sealed({reinterpret_cast<const char*>(data), size});
  } catch (const Error& error) {
    if (error.code() != Code::damaged) std::abort();
    return 0;
  }
  const std::string text = to_json(sealed);
  if (to_json(tpm::parse_sealed(text)) != text) std::abort();
  answers([&] { (void)contradiction(sealed); });
  answers([&] { (void)contradiction(signed_by_the_attacker(sealed)); });
  answers([&] { (void)tpm::name_of(tpm::unmarshalled_public(sealed.srk)); });
  return 0;
}
