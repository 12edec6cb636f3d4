#include "initramfs-hook/settle.h"

#include <dlfcn.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace volseal {

namespace {

std::vector<std::uint32_t>& put_off() {
  static std::vector<std::uint32_t> cookies;
  return cookies;
}

}  // namespace

void settle() {
  using Wait = int (*)(std::uint32_t);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what dlsym is for
  const auto wait = reinterpret_cast<Wait>(::dlsym(RTLD_NEXT, "dm_udev_wait"));
  for (const std::uint32_t cookie : std::exchange(put_off(), {})) {
    if (wait != nullptr) wait(cookie);
  }
}

}  // namespace volseal

// Of libdevmapper: 1 is success, 0 a cookie that stands for nothing.
extern "C" int dm_udev_wait(std::uint32_t cookie) {
  if (cookie != 0) volseal::put_off().push_back(cookie);
  return 1;
}
