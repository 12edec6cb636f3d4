// The LUKS2 token "volseal-lock": the volume's group was locked down, when, by whom and why.
//
// {"type":"volseal-lock","keyslots":[],"version":1,"group":NAME,"since":RFC3339,"by":TEXT,
//  "reason":TEXT}
//
// It is there so that an initramfs, and a system whose state folder was brought back from a backup,
// can say so and open nothing by themselves. It is a note and no guard: who can write the header
// can remove it. What keeps the volume shut is that its TPM keyslot is gone (docs/lock.md).
#pragma once

#include <string>
#include <string_view>

namespace volseal {

struct LockNote {
  static constexpr const char* type = "volseal-lock";

  std::string group;
  std::string since;   // RFC 3339, UTC
  std::string by;      // "alice on pts/0", "volseal-watch.service" ...; at most 200 bytes
  std::string reason;  // at most 400 bytes

  bool operator==(const LockNote&) const = default;
};

// Texts that are too long are cut; what is no UTF-8 is replaced.
std::string to_json(const LockNote& note);
// Hostile input; strict. Throws Error{damaged}.
LockNote parse_lock_token(std::string_view json);

// "group default was locked on 2024-05-01 12:34 UTC by alice on pts/0: REASON"; not escaped.
std::string to_text(const LockNote& note);

}  // namespace volseal
