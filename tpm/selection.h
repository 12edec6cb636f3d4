// Banks and PCR numbers as tpm2-tss wants them; for tpm/*.cpp.
#pragma once

#include <tss2/tss2_tpm2_types.h>

#include <string_view>
#include <vector>

namespace volseal::tpm {

// Throws Error{bad_policy} for a bank that is not used, or a PCR that does not exist.
TPM2_ALG_ID bank_algorithm(std::string_view bank);
TPML_PCR_SELECTION pcr_selection(std::string_view bank, const std::vector<int>& pcrs);

}  // namespace volseal::tpm
