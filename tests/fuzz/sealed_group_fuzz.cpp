// The sealed text of a token is refused with Error{damaged}, or it is one: then what is written of
// it is read back as the same, and asking whether it contradicts itself ends in an answer.
#include "core/base/error.h"
#include "tpm/sealed_group.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  tpm::SealedGroup sealed;
  try {
    sealed = tpm::parse_sealed({reinterpret_cast<const char*>(data), size});
  } catch (const Error& error) {
    if (error.code() != Code::damaged) std::abort();
    return 0;
  }
  const std::string text = to_json(sealed);
  if (to_json(tpm::parse_sealed(text)) != text) std::abort();
  try {
    (void)contradiction(sealed);
  } catch (const Error& error) {
    if (error.code() != Code::damaged && error.code() != Code::tpm_refused) std::abort();
  }
  return 0;
}
