#include "cli/way_in.h"

#include "cli/output.h"
#include "cli/prompt.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/enroll/protectors.h"
#include "core/lock/record.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/all_of.h"
#include "core/unlock/find_lock.h"
#include "core/unlock/unlocker.h"

#include <utility>
#include <vector>

namespace volseal {

namespace {

// Nothing: not by all parts of one of its tokens; what was wrong has been said.
std::optional<Secret> by_all_of(const Volume& volume, Groups& groups, Fido2& keys) {
  AllOf parts(keys, [](const std::string& prompt) { return ask_secret(prompt); });
  Unlocker unlocker(groups.protector(), groups.ask_pin());
  for (const AllOfToken& token : find_all_of_tokens(volume)) {
    if (token.fido2 && !Fido2::is_plugged_in()) continue;
    Gathered gathered = parts.gather(
        token, volume,
        [&](const std::string& sealed) -> const GroupKey& { return unlocker.key_of(sealed); });
    if (gathered.outcome == Outcome::opened && volume.opens_with(gathered.passphrase)) {
      return std::move(gathered.passphrase);
    }
    print_err(
        "volseal: {} by {}: {}\n", escaped(volume.path().native()), token.name(),
        gathered.outcome == Outcome::opened ? "the passphrase is wrong" : escaped(gathered.reason));
  }
  return std::nullopt;
}

}  // namespace

void refuse_locked(const Volume& volume) {
  if (const auto note = find_lock(volume))
    throw LockedError("open " + volume.path().native(), *note);
}

Secret way_in(const std::optional<Path>& key_file, const Volume& volume, Groups& groups,
              Fido2& keys) {
  refuse_locked(volume);
  if (!key_file) {
    if (const auto found = find_group_token(volume)) {
      const GroupKey key = groups.protector().recover(found->token.sealed, groups.ask_pin());
      if (key.outcome == Outcome::opened) {
        Secret passphrase = group_passphrase(volume, found->token, key.secret);
        if (volume.opens_with(passphrase)) return passphrase;
      }
    }
    const std::vector<Fido2Token> tokens = find_fido2_tokens(volume);
    if (!tokens.empty() && Fido2::is_plugged_in()) {
      Fido2Answer answer = keys.open(tokens);
      if (answer.outcome == Outcome::opened && volume.opens_with(answer.passphrase))
        return std::move(answer.passphrase);
    }
    if (can_ask()) {
      if (auto way = by_all_of(volume, groups, keys)) return std::move(*way);
    }
  }
  Secret given = existing_secret(key_file, escaped(volume.path().native()));
  if (auto recovery = normalized_recovery_key(given)) given = std::move(*recovery);
  if (!volume.opens_with(given)) {
    throw Error(Code::wrong_secret, "open {}: no keyslot opens with what was given",
                volume.path().native());
  }
  return given;
}

}  // namespace volseal
