// Platform configuration registers: which bank, what is in them, and the latch.
#pragma once

#include "core/base/base64.h"
#include "tpm/connection.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::tpm {

using PcrValues = std::map<int, Bytes>;

// "sha256", "sha384", "sha512": the bank that is asked for where the TPM keeps all of `pcrs` in it,
// else the next of these. Never SHA-1 alone: throws Error{tpm_refused} where there is nothing
// better.
std::string choose_bank(Connection& tpm, std::string_view preferred, const std::vector<int>& pcrs);

// Throws Error{tpm_refused} where the bank lacks one of them.
PcrValues read_pcrs(Connection& tpm, std::string_view bank, const std::vector<int>& pcrs);

// All zeros or all ones: nothing has been measured into it in this boot.
bool unmeasured(const Bytes& value);

// From here until the next boot nothing that is sealed with this latch can be unsealed. Extends
// every bank, one command.
void extend_latch(Connection& tpm, int pcr);
bool latch_closed(Connection& tpm, std::string_view bank, int pcr);

}  // namespace volseal::tpm
