// Any token is refused with Error{damaged}, or is written again as something that reads the same.
#include "core/base/error.h"
#include "core/protect/fido2_token.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  try {
    const Fido2Token token = parse_fido2_token({reinterpret_cast<const char*>(data), size});
    if (to_json(parse_fido2_token(to_json(token))) != to_json(token)) std::abort();
    if (token.salt.size() != Fido2Token::salt_size || token.credential.empty()) std::abort();
  } catch (const Error& error) {
    if (error.code() != Code::damaged) std::abort();
  }
  return 0;
}
