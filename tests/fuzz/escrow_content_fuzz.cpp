// What is inside a blob is refused with Error{bad_blob}, or is written again as it was read; shares
// that fit nothing are told so, and no combination of them crashes.
#include "core/base/error.h"
#include "core/escrow/content.h"
#include "core/escrow/recover.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  try {
    // Two of them, where there is a zero between; else the same twice.
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::size_t cut = text.find('\0');
    std::vector<escrow::OpenedBlob> blobs;
    for (const std::string_view part :
         {text.substr(0, cut), cut == std::string_view::npos ? text : text.substr(cut + 1)}) {
      escrow::Content content = escrow::parse_content(Secret::copy_of(part));
      const Secret written = to_json(content);
      if (!to_json(escrow::parse_content(written)).equal(written)) std::abort();
      blobs.push_back({.name = "blob", .content = std::move(content)});
    }
    static_cast<void>(escrow::recover(blobs));
  } catch (const Error& error) {
    if (error.code() != Code::bad_blob && error.code() != Code::wrong_secret) std::abort();
  }
  return 0;
}
