// Recovery keys in the format of systemd-cryptenroll, so that any rescue system takes them.
//
// 256 bits as 64 modhex characters (cbdefghijklnrtuv: the same on every keyboard layout), eight
// groups of eight joined by dashes. The LUKS passphrase is that text, dashes included. The token
// "systemd-recovery" has no fields of its own (interop.md; systemd's man systemd-cryptenroll).
#pragma once

#include "core/base/secret.h"

#include <optional>
#include <string>

namespace volseal {

// A new key: 71 characters. Nothing but its keyslot and the person's paper remembers it.
Secret new_recovery_key();

// What a person typed → the passphrase: upper case, missing dashes and surrounding white space are
// forgiven. Nothing when it is no recovery key at all (then it may be an ordinary passphrase).
std::optional<Secret> normalized_recovery_key(const Secret& typed);

std::string recovery_token_json(int keyslot);

}  // namespace volseal
