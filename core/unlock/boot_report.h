// What happened in the initramfs: /run/volseal/boot.json, written by volseal-unlock, carried into
// the audit log by the first verb that runs after the boot, shown by `volseal status`. The schema
// is "volseal-boot/1". /run is memory: the file is of this boot or absent.
#pragma once

#include "core/unlock/unlocker.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

struct BootReport {
  static constexpr const char* path = "/run/volseal/boot.json";

  std::string boot_id;                 // the kernel's
  std::chrono::milliseconds began{0};  // since the kernel started
  std::chrono::milliseconds ended{0};
  // Part → how long: "devices" (waiting for them), "check" (headers and the unseal), "open",
  // "verify", "latch", "person" (prompts), "udev" (its names for what is open).
  std::vector<std::pair<std::string, std::chrono::milliseconds>> parts;
  std::vector<Attempt> attempts;
  std::vector<std::string> missing;  // mappings whose volume was not there in time
  std::string latch;                 // "closed", "none" (the root is plain), or why it is open
  std::string refusal;               // why a person was asked; "" where nobody was
  std::string stop;                  // "shell", "poweroff", "reboot"; "" where the boot went on
};

std::string to_json(const BootReport& report);
// Throws Error{damaged}.
BootReport boot_report_from_json(const std::string& text);
// Nothing where volseal-unlock did not run in this boot. Throws Error{damaged}.
std::optional<BootReport> read_boot_report(const Path& path = BootReport::path);

// "tpm", "tpm and recovery-key" ...: what opened volumes in the initramfs; "" where nothing did.
std::string how_opened(const BootReport& report);

}  // namespace volseal
