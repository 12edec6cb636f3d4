#include "cli/way_in.h"

#include "cli/prompt.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/enroll/protectors.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/unlocker.h"

#include <utility>
#include <vector>

namespace volseal {

WayIn way_in(const std::optional<Path>& key_file, const Volume& volume, Groups& groups,
             Fido2& keys) {
  if (!key_file) {
    if (const auto found = find_group_token(volume)) {
      GroupKey key = groups.protector().recover(found->token.sealed, pin_from_terminal());
      if (key.outcome == Outcome::opened) {
        Secret passphrase = group_passphrase(volume, found->token, key.secret);
        if (volume.opens_with(passphrase)) {
          return {.passphrase = std::move(passphrase),
                  .material = GroupMaterial{.sealed = found->token.sealed,
                                            .secret = std::move(key.secret)}};
        }
      }
    }
    const std::vector<Fido2Token> tokens = find_fido2_tokens(volume);
    if (!tokens.empty() && Fido2::is_plugged_in()) {
      Fido2Answer answer = keys.open(tokens);
      if (answer.outcome == Outcome::opened && volume.opens_with(answer.passphrase))
        return {.passphrase = std::move(answer.passphrase), .material = {}};
    }
  }
  Secret given = existing_secret(key_file, escaped(volume.path().native()));
  if (auto recovery = normalized_recovery_key(given)) given = std::move(*recovery);
  if (!volume.opens_with(given)) {
    throw Error(Code::wrong_secret, "open {}: no keyslot opens with what was given",
                volume.path().native());
  }
  return {.passphrase = std::move(given), .material = {}};
}

}  // namespace volseal
