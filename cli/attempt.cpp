#include "cli/attempt.h"

#include "cli/exit_status.h"
#include "cli/output.h"
#include "core/base/escape.h"

#include <fmt/format.h>

#include <cstdio>

namespace volseal {

int exit_status_for(Outcome outcome) {
  switch (outcome) {
    case Outcome::opened: return exit_status::good;
    case Outcome::wrong_secret: return exit_status::wrong_secret;
    case Outcome::needs_pin:
    case Outcome::wrong_pin:
    case Outcome::locked_out:
    case Outcome::policy_mismatch:
    case Outcome::revoked:
    case Outcome::not_mine:
    case Outcome::unavailable:
    case Outcome::no_key:
    case Outcome::pulled_out:
    case Outcome::no_touch:
    case Outcome::no_pin:
    case Outcome::pin_blocked: return exit_status::tpm;
    case Outcome::damaged: return exit_status::failed;
    case Outcome::forged:
    case Outcome::tampered: return exit_status::refused;
  }
  return exit_status::failed;
}

namespace {

// Where a key is meant, and not the TPM.
std::string_view hint_for_fido2(Outcome outcome) {
  switch (outcome) {
    case Outcome::wrong_pin: return "try again; too many wrong PINs block the key for good";
    case Outcome::locked_out:
      return "pull the FIDO2 key out, plug it in again and take care with the PIN";
    case Outcome::not_mine:
      return "plug in the FIDO2 key that was enrolled, or use the recovery key";
    case Outcome::unavailable: return "'fido2-token -L' lists keys; the recovery key opens without";
    case Outcome::opened:
    case Outcome::wrong_secret:
    case Outcome::needs_pin:
    case Outcome::policy_mismatch:
    case Outcome::revoked:
    case Outcome::damaged:
    case Outcome::forged:
    case Outcome::tampered:
    case Outcome::no_key:
    case Outcome::pulled_out:
    case Outcome::no_touch:
    case Outcome::no_pin:
    case Outcome::pin_blocked: return hint_for(outcome);
  }
  return "";
}

}  // namespace

std::string_view hint_for(Outcome outcome) {
  switch (outcome) {
    case Outcome::opened: return "";
    case Outcome::wrong_secret: return "'volseal protector list VOLUME' lists what opens it";
    case Outcome::needs_pin: return "run it at a terminal, where it can be asked for";
    case Outcome::wrong_pin:
      return "try again; after too many wrong PINs the TPM locks for a while";
    case Outcome::locked_out:
      return "wait, or use the recovery key: 'volseal unlock VOLUME --key-file FILE'";
    case Outcome::policy_mismatch:
      return "open it with the recovery key ('volseal unlock VOLUME'); 'volseal tpm explain' says "
             "what "
             "changed, and if the change is yours 'volseal tpm approve' accepts it";
    case Outcome::revoked:
      return "'volseal recover VOLUME' opens it with what people have; after 'tpm revoke' "
             "'volseal tpm sync VOLUME' gives it the approval that holds";
    case Outcome::not_mine:
      return "open it with the recovery key, then 'volseal protector add tpm VOLUME' on this "
             "machine";
    case Outcome::damaged:
      return "open it with the recovery key; header backups are in /var/lib/volseal/headers";
    case Outcome::forged:
      return "open it with the recovery key; somebody wrote another approval into its header: "
             "compare "
             "it with its backup in /var/lib/volseal/headers";
    case Outcome::tampered:
      return "do not type a passphrase into it; compare the header with its backup in "
             "/var/lib/volseal/headers";
    case Outcome::unavailable:
      return "check 'ls /dev/tpm*' and --tcti; the recovery key opens without a TPM";
    case Outcome::no_key: return "plug in the FIDO2 key, or use the recovery key";
    case Outcome::pulled_out: return "leave the FIDO2 key in until it is done; try again";
    case Outcome::no_touch: return "try again, and touch the FIDO2 key while it blinks";
    case Outcome::no_pin:
      return "it was reset since, or is another key; use the one that was enrolled, or the "
             "recovery "
             "key";
    case Outcome::pin_blocked:
      return "use another FIDO2 key or the recovery key; this one has to be reset, which destroys "
             "what it opened";
  }
  return "";
}

int report_attempt(const Attempt& attempt, std::string_view verb) {
  const std::string device = escaped(attempt.device.native());
  if (attempt.outcome == Outcome::opened) {
    print_out(fmt::format("{} {} by {} (keyslot {}, {} ms)\n", device, verb, attempt.protector,
                          attempt.keyslot.value_or(-1), attempt.took.count()));
  } else {
    print_err("volseal: {} by {}: {}: {}\n", device, attempt.protector, to_string(attempt.outcome),
              escaped(attempt.reason));
    print_err("  {}\n", attempt.protector.find("fido2") != std::string::npos
                            ? hint_for_fido2(attempt.outcome)
                            : hint_for(attempt.outcome));
  }
  for (const std::string& finding : attempt.findings) {
    print_err("volseal: warning: {}: {}\n", device, escaped(finding));
  }
  return exit_status_for(attempt.outcome);
}

}  // namespace volseal
