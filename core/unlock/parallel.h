// Opening several checked volumes at once.
#pragma once

#include "core/unlock/unlocker.h"

#include <sys/types.h>

#include <functional>
#include <vector>

namespace volseal {

// What is left to do for a volume that is open already, and nobody has to wait for at once. `work`,
// if any, is done by each process that opened one, after it has answered.
struct Settling {
  std::function<void()> work;
  std::vector<pid_t> processes;  // that are still at it

  // Does what is left here, and waits for the others.
  void wait();
};

// One child process each, since neither libcryptsetup nor libdevmapper may be used by two threads.
// A child has the header that was checked, by fork; its passphrase comes through a pipe, since
// secrets are wiped on fork. The answers stand in the order of `checked`; those that may not be
// opened come back as they are. Never throws for what a volume may answer.
std::vector<Attempt> open_in_parallel(std::vector<CheckedVolume>& checked, Settling& settling);

// What the kernel maps under /dev/mapper/NAME is the header that was checked: device, cipher,
// offset, size and sector size. "" where it is, else what differs.
std::string mapping_problem(const CheckedVolume& checked);

}  // namespace volseal
