// The latch: from here on, nothing that was sealed can be unsealed in this boot.
#pragma once

#include "initramfs-hook/settings.h"

#include <string>
#include <vector>

namespace volseal {

enum class LatchResult {
  closed,
  none,    // the list names no PCR: the root is plain, and a latch would protect nothing
  absent,  // there is no TPM, nor does the firmware speak of one; or it has failed for good
  hidden,  // the firmware has a TPM, but no driver shows it: it may still appear, and unseal
  failed,  // the TPM is there and did not take it
};

struct Latch {
  LatchResult result = LatchResult::none;
  std::string reason;
};

// The TCTI of this boot.
std::string tcti_of(const BootSettings& settings);
// The firmware says that the machine has a TPM 2.0.
bool firmware_has_tpm();

// Extends each of `pcrs`, once a boot: a mark in /run/volseal says that it was done. Never throws.
Latch close_latch(const BootSettings& settings, const std::vector<int>& pcrs);

}  // namespace volseal
