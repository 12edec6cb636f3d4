// Any token is refused with Error{damaged}, or is written again as something that reads the same.
#include "core/base/error.h"
#include "core/protect/all_of_token.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  try {
    const AllOfToken token = parse_all_of_token({reinterpret_cast<const char*>(data), size});
    if (to_json(parse_all_of_token(to_json(token))) != to_json(token)) std::abort();
    if (token.salt.size() != AllOfToken::salt_size || token.parts().size() < 2) std::abort();
    if (parse_parts(token.name()) != token.parts()) std::abort();
  } catch (const Error& error) {
    if (error.code() != Code::damaged) std::abort();
  }
  return 0;
}
