// /etc/volseal/boot.conf, a copy of which is in the initramfs.
#pragma once

#include "core/base/file.h"

#include <chrono>
#include <string>
#include <string_view>

namespace volseal {

// What happens when the root stays locked after all tries, or must not be opened.
enum class Stop { shell, poweroff, reboot };

struct BootSettings {
  Stop on_refusal = Stop::shell;
  int tries = 5;                  // of a PIN, and of a recovery key
  std::chrono::seconds wait{10};  // for volumes that the root does not need
  std::string tcti;               // "" for /dev/tpm0
};

std::string_view to_string(Stop stop);

// Lines KEY=VALUE as a shell takes them; unknown keys are passed over, so that a newer file boots
// an older initramfs. A value that makes no sense keeps its default: the boot goes on.
BootSettings parse_boot_settings(std::string_view text);

}  // namespace volseal
