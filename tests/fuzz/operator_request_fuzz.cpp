// Any bytes that a local user sends root's service: what is taken for a request is exactly what
// would be sent for it, and names a device or a UUID and nothing that leads elsewhere.
#include "core/operators/request.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto request = volseal::parse_operator_request(text);
  if (!request) return 0;
  if (volseal::to_text(*request) != text) std::abort();
  const std::string_view volume = request->volume;
  if (volume.contains("..") && volume.contains("/..")) std::abort();
  if (volume.empty() || volume.contains('\0') || volume.contains(' ')) std::abort();
  return 0;
}
