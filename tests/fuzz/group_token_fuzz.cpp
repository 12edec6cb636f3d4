// Any token is refused with Error{damaged}, or is written again as something that reads the same.
#include "core/base/error.h"
#include "core/protect/group_protector.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  try {
    const GroupToken token = parse_group_token({reinterpret_cast<const char*>(data), size});
    if (to_json(parse_group_token(to_json(token))) != to_json(token)) std::abort();
  } catch (const Error& error) {
    if (error.code() != Code::damaged) std::abort();
  }
  return 0;
}
