// The TPM at the end of a recovery: this boot approved, or the volume enrolled anew.
#pragma once

#include "cli/world.h"
#include "core/luks/volume.h"
#include "core/protect/lock_token.h"
#include "core/unlock/unlocker.h"

#include <optional>
#include <set>
#include <string>

namespace volseal {

class TpmRecovery {
 public:
  // `yes`: nobody is asked.
  TpmRecovery(const Options& options, Groups& groups, bool yes)
      : options_(options), groups_(groups), yes_(yes) {}

  // `refused`: how the TPM's attempt ended, opened excepted; `passphrase` opens the volume. What
  // cannot be put right is said and is no error: the volume is open.
  void put_right(Volume& volume, const Attempt& refused, const Secret& passphrase);
  // Where the group is locked down, and two factors have opened the volume: the group begins anew
  // with a new secret, the volume gets it, and with its first volume the group is locked no more.
  // Its others have a note in their headers, and are each opened again by the same way. Throws
  // nothing either.
  void open_again(Volume& volume, const LockNote& note, const Secret& passphrase);

 private:
  void approve(const Volume& volume, const std::string& group);
  void sync(const Volume& volume, const std::string& group);
  void enroll_anew(Volume& volume, const std::string& group, const Secret& passphrase);
  void begin_group_anew(const std::string& group);
  void lift(Volume& volume, const LockNote& note, const Secret& passphrase);
  void say_whether_it_opens(const Volume& volume);
  bool agrees(const std::string& question) const;

  const Options& options_;
  Groups& groups_;
  bool yes_;
  std::set<std::string> approved_;  // groups, in this run
};

}  // namespace volseal
