// Opening a volume by one way in, and what that gives: enough to add and replace keyslots.
#pragma once

#include "cli/escrow_open.h"
#include "cli/world.h"
#include "core/coverage/ways.h"
#include "core/luks/volume.h"
#include "core/unlock/all_of.h"
#include "core/unlock/unlocker.h"

#include <optional>
#include <string>

namespace volseal {

struct OpenedBy {
  Attempt attempt;
  Secret passphrase;                // the keyslot's, when opened
  std::optional<AllOfToken> parts;  // where it took several
  PartSecrets secrets;              // theirs

  bool opened() const { return attempt.outcome == Outcome::opened; }
  // A recovery key was shown to somebody, alone or as a part.
  bool used_recovery_key() const;
};

// What a person brings along, besides a terminal.
struct Brought {
  std::optional<Path> key_file;
  std::optional<Path> pin_file;
  EscrowKeys escrow;
};

class RecoverOpener {
 public:
  RecoverOpener(const Brought& brought, Groups& groups);

  // Only the keyslot of `way`; nothing is mapped. Null ciphers are refused before anybody is asked.
  // An empty answer is Outcome::needs_pin. Throws Error for a device that cannot be read, and for
  // blobs and private keys that are bad.
  OpenedBy open(const Volume& volume, const Way& way);
  // By the TPM, as a boot does it.
  Attempt by_tpm(const Path& volume) {
    return unlocker_.by_group({.device = volume, .mapping = ""});
  }

 private:
  void by_fido2(OpenedBy& opened, const Volume& volume, const Way& way);
  void by_parts(OpenedBy& opened, const Volume& volume, const Way& way);
  void by_typing(OpenedBy& opened, const Volume& volume, const Way& way);
  std::optional<Secret> ask(const std::string& prompt) const;

  const Brought& brought_;
  Unlocker unlocker_;
  Fido2 keys_;
  AllOf parts_;
};

}  // namespace volseal
