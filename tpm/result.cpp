// TPM and TSS result codes, translated where they arrive.
#include "tpm/esys.h"

#include <tss2/tss2_rc.h>

namespace volseal::tpm {

namespace {

constexpr TSS2_RC layer_mask = 0xff0000;

Meaning meaning_of_tpm(TSS2_RC code) {
  // Format one: bit 7; the low six bits are the error, the rest says which handle, session,
  // parameter.
  if ((code & TPM2_RC_FMT1) != 0) {
    switch (code & 0xbfU) {
      case TPM2_RC_HANDLE: return Meaning::no_handle;
      case TPM2_RC_AUTH_FAIL: return Meaning::wrong_auth;
      case TPM2_RC_BAD_AUTH: return Meaning::bad_auth;
      case TPM2_RC_VALUE: return Meaning::value;
      case TPM2_RC_POLICY_FAIL: return Meaning::policy_fail;
      case TPM2_RC_TICKET: return Meaning::ticket;
      case TPM2_RC_SIGNATURE: return Meaning::signature;
      case TPM2_RC_INTEGRITY:
      case TPM2_RC_BINDING: return Meaning::integrity;
      default: return Meaning::other;
    }
  }
  switch (code) {
    case TPM2_RC_INITIALIZE: return Meaning::not_started;
    case TPM2_RC_FAILURE:
    case TPM2_RC_REBOOT: return Meaning::failure_mode;
    case TPM2_RC_POLICY: return Meaning::policy;
    case TPM2_RC_PCR_CHANGED: return Meaning::pcr_changed;
    case TPM2_RC_SENSITIVE: return Meaning::integrity;
    case TPM2_RC_NV_UNINITIALIZED: return Meaning::unwritten;
    case TPM2_RC_NV_DEFINED: return Meaning::defined;
    case TPM2_RC_NV_SPACE:
    case TPM2_RC_OBJECT_MEMORY:
    case TPM2_RC_SESSION_MEMORY:
    case TPM2_RC_MEMORY:
    case TPM2_RC_SESSION_HANDLES:
    case TPM2_RC_OBJECT_HANDLES: return Meaning::full;
    case TPM2_RC_LOCKOUT: return Meaning::locked_out;
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
    case TPM2_RC_RETRY:
    case TPM2_RC_NV_RATE:
    case TPM2_RC_NV_UNAVAILABLE:
    case TPM2_RC_CANCELED: return Meaning::busy;
    default: break;
  }
  // 0x910-0x916: a handle that refers to a transient object or session that is not there.
  if (code >= TPM2_RC_REFERENCE_H0 && code <= TPM2_RC_REFERENCE_H6) return Meaning::no_handle;
  return Meaning::other;
}

Code code_for(Meaning meaning) {
  switch (meaning) {
    case Meaning::failure_mode: return Code::tpm_failed;
    case Meaning::gone: return Code::no_tpm;
    case Meaning::busy: return Code::busy;
    case Meaning::forged: return Code::tampered;
    case Meaning::integrity:
    case Meaning::ticket:
    case Meaning::signature: return Code::damaged;
    case Meaning::good:
    case Meaning::not_started:
    case Meaning::no_handle:
    case Meaning::wrong_auth:
    case Meaning::bad_auth:
    case Meaning::locked_out:
    case Meaning::value:
    case Meaning::policy:
    case Meaning::policy_fail:
    case Meaning::pcr_changed:
    case Meaning::full:
    case Meaning::defined:
    case Meaning::unwritten:
    case Meaning::other: return Code::tpm_refused;
  }
  return Code::tpm_refused;
}

std::string text_for(Meaning meaning, TSS2_RC code) {
  switch (meaning) {
    case Meaning::failure_mode: return "the TPM is in failure mode";
    case Meaning::gone: return "the TPM does not answer";
    case Meaning::busy: return "the TPM stays busy";
    case Meaning::forged:
      return "the TPM's response does not authenticate; something between the processor and the "
             "TPM "
             "may be altering it";
    case Meaning::locked_out: return "the TPM is locked out after too many wrong PINs or passwords";
    case Meaning::full:
      return fmt::format(
          "the TPM has no room left ({:#x}; 'tpm2_getcap handles-transient' and "
          "'handles-loaded-session' say what other programs left there)",
          code);
    case Meaning::good:
    case Meaning::not_started:
    case Meaning::no_handle:
    case Meaning::wrong_auth:
    case Meaning::bad_auth:
    case Meaning::value:
    case Meaning::policy:
    case Meaning::policy_fail:
    case Meaning::pcr_changed:
    case Meaning::ticket:
    case Meaning::signature:
    case Meaning::integrity:
    case Meaning::defined:
    case Meaning::unwritten:
    case Meaning::other: return fmt::format("{} ({:#x})", Tss2_RC_Decode(code), code);
  }
  return {};
}

}  // namespace

Meaning meaning_of(TSS2_RC code) {
  if (code == TSS2_RC_SUCCESS) return Meaning::good;
  switch (code & layer_mask) {
    case TSS2_TPM_RC_LAYER:
    case TSS2_RESMGR_TPM_RC_LAYER:
    case TSS2_RESMGR_RC_LAYER: return meaning_of_tpm(code & ~layer_mask);
    case TSS2_TCTI_RC_LAYER: return Meaning::gone;
    default: break;
  }
  switch (code & ~layer_mask) {
    case TSS2_BASE_RC_RSP_AUTH_FAILED:
    case TSS2_BASE_RC_MALFORMED_RESPONSE:
    case TSS2_BASE_RC_INSUFFICIENT_RESPONSE: return Meaning::forged;
    case TSS2_BASE_RC_IO_ERROR:
    case TSS2_BASE_RC_NO_CONNECTION: return Meaning::gone;
    default: return Meaning::other;
  }
}

void throw_tpm(TSS2_RC code, std::string_view what) {
  const Meaning meaning = meaning_of(code);
  throw TpmError(meaning, code_for(meaning), fmt::format("{}: {}", what, text_for(meaning, code)));
}

}  // namespace volseal::tpm
