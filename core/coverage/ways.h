// What opens a volume, by its header: each keyslot with what it takes. Pure.
#pragma once

#include "core/device/device.h"

#include <string>
#include <vector>

namespace volseal {

// One way in: a keyslot that can open.
struct Way {
  int keyslot = 0;
  // "tpm", "recovery-key", "fido2", "passphrase", several with "+" between them, or, of others'
  // tokens, the token's type. From the device: printed escaped.
  std::string kind;
  // What somebody must have, know or be: a FIDO2 key with touch and PIN counts two, a part of
  // several what it counts alone. A recovery key in escrow counts two: a private key, and what
  // that is locked with.
  int factors = 1;
  bool asks = true;       // a person has a part in it
  bool escrowed = false;  // the header says so
  std::string stretch;
  std::string group;
  bool two_factors = false;  // of its FIDO2 key
  std::string fingerprint;   // the keyslot's
};

std::vector<Way> ways_in(const LuksHeader& header);

}  // namespace volseal
