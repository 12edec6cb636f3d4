#include "core/unlock/find_lock.h"

namespace volseal {

std::optional<LockNote> find_lock(const Volume& volume) {
  for (const VolumeToken& token : volume.tokens()) {
    if (token.type == LockNote::type) return parse_lock_token(token.json);
  }
  return std::nullopt;
}

}  // namespace volseal
