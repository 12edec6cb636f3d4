// What the initramfs has to open: written into it by the hook, read there by volseal-unlock. No
// secrets. One line a thing, words separated by blanks, blanks in a word as \NNN:
//
//   latch PCR                                   close this PCR before any root is entered
//   fido2                                       a FIDO2 key is among what opens root or /usr
//   volume NAME UUID WANTED CIPHER OPTIONS      WANTED: root, usr, boot or data; "-" for nothing
#pragma once

#include "core/luks/volume.h"

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// What a volume is wanted for.
enum class Wanted {
  root,  // the root file system, or what it lies on: the boot waits for it, a person is asked
  usr,   // /usr: the same
  boot,  // something else that Debian's cryptroot opens: swap to resume from, `initramfs`
  data,  // everything else in crypttab
};

struct BootVolume {
  std::string mapping;
  std::string luks_uuid;
  Wanted wanted = Wanted::data;
  std::string cipher;   // "aes-xts-plain64"; "" where the volume was not there
  std::string options;  // crypttab's, as they are
};

struct BootList {
  std::vector<int> latches;  // PCRs; empty where the root is not encrypted: nothing to protect
  bool fido2 = false;        // what a person is asked for may be a FIDO2 key: USB, and HID
  std::vector<BootVolume> volumes;
};

std::string_view to_string(Wanted wanted);
std::string to_text(const BootList& list);
// Strict: throws Error{damaged} for what to_text() would not have written.
BootList parse_boot_list(std::string_view text);

// crypttab(5) options that concern activation; the rest is for others to read.
ActivateOptions activate_options(std::string_view options);
// Whether the comma-separated `options` have that flag.
bool has_option(std::string_view options, std::string_view flag);

}  // namespace volseal
