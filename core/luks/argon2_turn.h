// One Argon2 at a time: each takes up to 1 GiB, and several at once would take the memory of a
// small server, or of an initramfs. The lock is libcryptsetup's own for that, so that
// systemd-cryptsetup waits for us, and we for it. Openings take it by
// CRYPT_ACTIVATE_SERIALIZE_MEMORY_HARD_PBKDF; adding a keyslot has no such flag.
#pragma once

#include "core/base/handle.h"

namespace volseal {

class Argon2Turn {
 public:
  // Waits for it. Where there is no place for locks, nobody is kept from anything.
  Argon2Turn();
  Argon2Turn(const Argon2Turn&) = delete;
  Argon2Turn& operator=(const Argon2Turn&) = delete;
  Argon2Turn(Argon2Turn&&) = delete;
  Argon2Turn& operator=(Argon2Turn&&) = delete;
  ~Argon2Turn() = default;

 private:
  UniqueFd lock_;
};

}  // namespace volseal
