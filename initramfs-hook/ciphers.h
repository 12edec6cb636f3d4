// The kernel makes a cipher of its parts when it is first asked for (xts(aes) of xts, ecb and aes)
// and looks for a module for each: half a dozen runs of modprobe where the processor has no
// instructions for it, for every process that asks. Asked for once, early, that is done while disks
// and TPM are waited for.
#pragma once

#include "core/unlock/boot_list.h"

#include <set>
#include <string>
#include <thread>

namespace volseal {

// The kernel's names of the ciphers of `list`: "xts(aes)" for aes-xts-plain64. What is written in
// another way (capi:) is left out.
std::set<std::string> kernel_ciphers(const BootList& list);

class CipherWarmUp {
 public:
  explicit CipherWarmUp(const BootList& list);

  // Call it before fork(): a child has this thread's locks, but not the thread.
  void wait();

 private:
  std::jthread thread_;
};

}  // namespace volseal
