// Tokens and protectors → open volumes and a record of every attempt.
#pragma once

#include "core/luks/volume.h"
#include "core/protect/group_protector.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

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
  std::string protector;  // "tpm", "recovery-key", "passphrase"
  Outcome outcome = Outcome::unavailable;
  std::string reason;  // one sentence, when not opened
  std::optional<int> keyslot;
  std::vector<std::string>
      findings;  // opened, but somebody should know: a keyslot that was added ...
  std::chrono::milliseconds took{0};
};

class Unlocker {
 public:
  Unlocker(GroupProtector& protector, AskPin ask_pin);

  // By the volume's volseal-tpm2 token. The group secret is recovered once for all volumes of the
  // group. The header's binding is checked after that and before anything is opened: a header that
  // does not match is not opened by TPM. Throws Error only for a device that cannot be read.
  Attempt by_group(const UnlockTarget& target);

  // By a recovery key or a passphrase that a person gave. Null ciphers are refused here too.
  static Attempt by_secret(const UnlockTarget& target, const Secret& secret);

 private:
  const GroupKey& key_of(const std::string& sealed);

  GroupProtector& protector_;
  AskPin ask_pin_;
  std::map<std::string, GroupKey> keys_;
};

// The volseal-tpm2 token of a volume, if it has one. Throws Error{damaged}.
struct FoundGroupToken {
  int id = 0;
  GroupToken token;
};
std::optional<FoundGroupToken> find_group_token(const Volume& volume);

// The passphrase that the token of `volume` stands for.
Secret group_passphrase(const Volume& volume, const GroupToken& token, const Secret& group_secret);

}  // namespace volseal
