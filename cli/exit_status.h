// Exit statuses of every verb; also in volseal(8) and the README.
#pragma once

namespace volseal::exit_status {

constexpr int good = 0;      // done; check: covered
constexpr int warnings = 1;  // check: covered, with warnings; header verify: out of date
// check, watch --once: something is not encrypted; header verify: no good backup
constexpr int not_covered = 2;
constexpr int undecided = 3;  // check: something could not be judged
constexpr int failed = 4;     // it could not be done; nothing is half-done, or it says how to go on
constexpr int refused = 5;    // it would have been unsafe, so nothing was touched
constexpr int wrong_secret = 6;  // what was given opens nothing
constexpr int tpm = 7;           // the TPM or FIDO2 key is absent, failing, locked out, or says no
constexpr int worse = 8;         // check --since: something got worse
constexpr int usage = 64;        // the command line makes no sense (EX_USAGE of sysexits.h)
constexpr int policy = 78;       // the policy file is wrong (EX_CONFIG)

}  // namespace volseal::exit_status
