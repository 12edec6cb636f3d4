// A new recovery key in the place of one that somebody had to use.
#pragma once

#include "cli/escrows.h"
#include "cli/recover_open.h"
#include "cli/recovery_print.h"
#include "core/enroll/replacement.h"

#include <optional>
#include <string>

namespace volseal {

// Who gets the new key, where the policy has no escrow for the group; else a person at the
// terminal, who types its end back.
struct NewKeyTo {
  PageOptions page;
  std::optional<Path> folder;  // a file with the key alone
  std::optional<int> escrow_fd;
};

class KeyReplacer {
 public:
  KeyReplacer(const Session& session, const Policy& policy, const NewKeyTo& to);

  // Finishes what a cut left of this volume, and says what that was. Needs no key.
  void finish(Volume& volume);
  // Somebody can take the key. Throws Error{usage, escrow_refused} where nobody can.
  void require_ready(const std::string& group, bool is_part);
  // The new key was proven and handed over before the old one is removed. Returns the new
  // keyslot.
  int replace(Volume& volume, const OpenedBy& used, const std::string& group);

 private:
  void hand_over(Volume& volume, int slot, const Secret& key, const std::string& group,
                 const std::string& together_with);

  const Session& session_;
  NewKeyTo to_;
  AuditLog audit_;
  Escrows escrows_;
  Replacement replacement_;
};

}  // namespace volseal
