#include "tpm/dictionary_attack.h"

#include "core/base/log.h"
#include "tpm/esys.h"

#include <algorithm>
#include <array>

namespace volseal::tpm {

DictionaryAttackState dictionary_attack_state(Connection& tpm) {
  auto& impl = tpm.impl();
  EsysPtr<TPMS_CAPABILITY_DATA> data;
  TPMI_YES_NO more = 0;
  // From PERMANENT on, all of what follows comes in one answer.
  impl.command("read the TPM's lockout state", [&] {
    return Esys_GetCapability(impl.esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                              TPM2_CAP_TPM_PROPERTIES, TPM2_PT_PERMANENT,
                              TPM2_PT_LOCKOUT_RECOVERY - TPM2_PT_PERMANENT + 1, &more, out(data));
  });
  DictionaryAttackState state;
  const auto& properties = data->data.tpmProperties;
  for (const auto& property : std::span(properties.tpmProperty).first(properties.count)) {
    const auto value = static_cast<int>(std::min<UINT32>(property.value, INT32_MAX));
    switch (property.property) {
      case TPM2_PT_PERMANENT:
        state.locked_out = (property.value & TPMA_PERMANENT_INLOCKOUT) != 0;
        state.lockout_auth_set = (property.value & TPMA_PERMANENT_LOCKOUTAUTHSET) != 0;
        break;
      case TPM2_PT_LOCKOUT_COUNTER: state.failures = value; break;
      case TPM2_PT_MAX_AUTH_FAIL: state.most_failures = value; break;
      case TPM2_PT_LOCKOUT_INTERVAL: state.forgets_one_every = std::chrono::seconds(value); break;
      case TPM2_PT_LOCKOUT_RECOVERY: state.lockout_recovery = std::chrono::seconds(value); break;
      default: break;
    }
  }
  state.locked_out |= state.most_failures > 0 && state.failures >= state.most_failures;
  state.tries_left = std::max(0, state.most_failures - state.failures);
  if (state.locked_out) state.until_next_try = state.forgets_one_every;
  return state;
}

void reset_dictionary_attack_counter(Connection& tpm) {
  auto& impl = tpm.impl();
  try {
    const DictionaryAttackState state = dictionary_attack_state(tpm);
    if (state.failures == 0 || state.lockout_auth_set) return;
    impl.command("reset the TPM's count of wrong PINs", [&] {
      return Esys_DictionaryAttackLockReset(impl.esys, ESYS_TR_RH_LOCKOUT, ESYS_TR_PASSWORD,
                                            ESYS_TR_NONE, ESYS_TR_NONE);
    });
  } catch (const Error& error) {
    log::detail("{}", error.what());
  }
}

}  // namespace volseal::tpm
