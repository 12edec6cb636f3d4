// Tokens and protectors → open volumes and a record of every attempt.
#pragma once

#include "core/luks/volume.h"
#include "core/protect/all_of_token.h"
#include "core/protect/fido2_token.h"
#include "core/protect/group_protector.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

class AllOf;
class Fido2;

struct UnlockTarget {
  Path device;
  std::string mapping;  // name under /dev/mapper; empty: open the keyslot, map nothing
  ActivateOptions options = {};
};

// One protector tried on one volume.
struct Attempt {
  Path device;
  std::string mapping;
  std::string luks_uuid;
  std::string group;
  std::string protector;  // "tpm", "fido2", "recovery-key", "passphrase", "fido2+passphrase" ...
  Outcome outcome = Outcome::unavailable;
  std::string reason;  // one sentence, when not opened
  std::optional<int> keyslot;
  std::vector<std::string>
      findings;  // opened, but somebody should know: a keyslot that was added ...
  std::chrono::milliseconds took{0};
};

// A volume whose header was checked, and what opens it. Nothing is mapped yet, so a caller can look
// at all of its volumes before it opens the first.
struct CheckedVolume {
  UnlockTarget target;
  Attempt attempt;  // outcome `opened`: it may be opened; anything else: why not
  std::optional<Volume> volume;
  Secret passphrase;
  std::vector<int> slots;           // that passphrase's
  std::string binding_scope;        // of the token
  const GroupKey* group = nullptr;  // lives as long as the Unlocker

  bool may_open() const { return attempt.outcome == Outcome::opened; }
};

class Unlocker {
 public:
  Unlocker(GroupProtector& protector, AskPin ask_pin);

  // Header, group secret, binding. What was checked is in CheckedVolume::volume, and is what
  // open() activates. Throws Error only for a device that cannot be read.
  CheckedVolume check(const UnlockTarget& target);

  // Opens the keyslot, maps where the target has a name. Throws as Volume::activate().
  static Attempt open(CheckedVolume& checked);

  // By the volume's volseal-tpm2 token. The group secret is recovered once for all volumes of the
  // group. The header's binding is checked after that and before anything is opened: a header that
  // does not match is not opened by TPM. Throws Error only for a device that cannot be read.
  Attempt by_group(const UnlockTarget& target);

  // By a recovery key or a passphrase that a person gave, and any keyslot or `slot`. Null ciphers
  // are refused here too.
  static Attempt by_secret(const UnlockTarget& target, const Secret& secret,
                           std::optional<int> slot = {});

  // By a FIDO2 key that a person has, and the volume's systemd-fido2 tokens; only the one of `slot`
  // where that is given. Null ciphers are refused before anybody is asked for anything.
  static Attempt by_fido2(const UnlockTarget& target, Fido2& keys, std::optional<int> slot = {});

  // By all parts of the volume's volseal-all-of token of `slot`, asked for in their order. Null
  // ciphers are refused before that; where the TPM has a part, the header's binding is checked too.
  Attempt by_all_of(const UnlockTarget& target, AllOf& parts, int slot);

  // What the TPM gives for GroupToken::sealed; asked once.
  const GroupKey& key_of(const std::string& sealed);

 private:
  GroupProtector& protector_;
  AskPin ask_pin_;
  std::map<std::string, GroupKey> keys_;
};

// The systemd-fido2 tokens of a volume that have a keyslot and can be read.
std::vector<Fido2Token> find_fido2_tokens(const Volume& volume);

// The same for volseal-all-of.
std::vector<AllOfToken> find_all_of_tokens(const Volume& volume);

// The volseal-tpm2 token of a volume, if it has one. Throws Error{damaged}.
struct FoundGroupToken {
  int id = 0;
  GroupToken token;
};
std::optional<FoundGroupToken> find_group_token(const Volume& volume);

// The passphrase that the token of `volume` stands for.
Secret group_passphrase(const Volume& volume, const GroupToken& token, const Secret& group_secret);

}  // namespace volseal
