// The TPM's protection against guessing: Part 1, 19.8.
#pragma once

#include "tpm/connection.h"

#include <chrono>

namespace volseal::tpm {

struct DictionaryAttackState {
  bool locked_out = false;
  bool lockout_auth_set = false;  // whether resetting the counter takes a password
  int failures = 0;
  int most_failures = 0;
  int tries_left = 0;
  std::chrono::seconds until_next_try{0};  // at most; the TPM does not say when its interval began
  std::chrono::seconds forgets_one_every{0};
  std::chrono::seconds lockout_recovery{0};  // after a wrong lockout password; 0: a restart
};

DictionaryAttackState dictionary_attack_state(Connection& tpm);

// After a good PIN: forgets earlier failures, where there are any and the lockout authorisation is
// empty. Never tries with a password that might be wrong. Failures of this are no failures of the
// unlock.
void reset_dictionary_attack_counter(Connection& tpm);

}  // namespace volseal::tpm
