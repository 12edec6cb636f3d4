#include "cli/lock_note.h"

#include "core/unlock/find_lock.h"
#include "core/unlock/unlocker.h"

namespace volseal {

std::optional<LockNote> lock_of(const Path& state, const Volume& volume) {
  if (auto note = find_lock(volume)) return note;
  const auto token = volume.version() == 2 ? find_group_token(volume) : std::nullopt;
  if (!token) return std::nullopt;
  const auto record = load_lock(state, token->token.group);
  return record ? std::optional(record->note) : std::nullopt;
}

}  // namespace volseal
