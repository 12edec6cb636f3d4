// The head of any disk: no header, a header, or a header with its damage named; never an exception.
#include "core/luks/header.h"

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  const ReadAt read_at = [&](std::uint64_t offset, std::size_t wanted) {
    const std::uint64_t begin = std::min<std::uint64_t>(offset, size);
    const std::uint64_t end = std::min<std::uint64_t>(begin + wanted, size);
    return std::vector<std::uint8_t>(data + begin, data + end);
  };
  const auto header = parse_header(read_at, 1ULL << 30U);
  if (header && header->damage.empty() && header->segments.empty()) std::abort();
  return 0;
}
