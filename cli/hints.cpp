#include "cli/hints.h"

#include "cli/exit_status.h"
#include "cli/output.h"
#include "core/base/escape.h"
#include "core/lock/record.h"

#include <fmt/format.h>

#include <cstdio>

namespace volseal {

namespace {

constexpr std::string_view hint_for_locked =
    "'volseal recover VOLUME' opens it, with two factors; 'volseal lock --list' says what is "
    "locked, and why";

}  // namespace

std::string_view hint_for(Code code) {
  switch (code) {
    case Code::usage: return "see 'volseal --help', or 'volseal VERB --help'";
    case Code::bad_policy: return "correct that line; 'man volseal-policy' explains every key";
    case Code::bad_graph: return "make a new one with 'volseal scan --json > FILE'";
    case Code::bad_report: return "make one with 'volseal check --json --output FILE'";
    case Code::bad_evidence:
      return "do not rely on it; ask for new evidence, with a nonce of your own: 'volseal check "
             "--evidence FILE --nonce HEX'";
    case Code::not_found: return "check the name; 'volseal scan' lists the devices that are there";
    case Code::not_luks:
      return "'volseal scan' says what is on it; 'volseal plan' says how it would be encrypted";
    case Code::damaged:
      return "nothing was changed; 'volseal header verify' lists header backups, 'volseal header "
             "restore VOLUME' writes one back";
    case Code::unsafe: return "nothing was changed; 'volseal plan' says what is in the way";
    case Code::tampered:
      return "do not type a passphrase into it; compare the header with its backup in "
             "/var/lib/volseal/headers";
    case Code::busy:
      return "unmount it or stop what uses it ('lsblk', 'fuser -vm DEVICE'; the watch may have it: "
             "'volseal quarantine list'), then try again";
    case Code::too_small:
      return "a LUKS2 header takes 16 MiB, encryption in place 32 MiB; use a larger volume";
    case Code::cannot_shrink:
      return "free some space on it, or move the data away and enroll the empty volume; nothing "
             "was changed";
    case Code::no_space: return "make room on that file system, then run the same command again";
    case Code::denied:
      return "run it as root; if you are root, the device is read-only or claimed by the kernel";
    case Code::io:
      return "look at 'dmesg' and 'smartctl -a'; a failing disk is copied away first, not "
             "encrypted";
    case Code::wrong_secret: return "'volseal protector list VOLUME' lists what opens it";
    case Code::no_tpm:
      return "check 'ls /dev/tpm*' and the firmware setup, or name one with --tcti; the recovery "
             "key opens without it";
    case Code::tpm_failed:
      return "power the machine off and on; if it stays, use the recovery key and replace the TPM";
    case Code::tpm_refused:
      return "use the recovery key for now; 'volseal tpm status' and 'volseal tpm explain' say "
             "more";
    case Code::no_key: return "plug in the FIDO2 key, and run the same command again";
    case Code::key_refused:
      return "'fido2-token -I DEVICE' (package fido2-tools) says more; nothing was changed";
    case Code::program_failed:
      return "the line above is that program's own; run it by hand to see more";
    case Code::escrow_refused:
      return "nothing was changed; 'volseal policy check' tries certificates and destinations of "
             "the escrow, docs/escrow.md says how to make them";
    case Code::bad_blob:
      return "take another copy of it; 'volseal escrow list' says which blobs belong to a volume";
    case Code::bad_key:
      return "a private key is a PEM file or pkcs11:URI ('p11tool --list-tokens' names tokens); "
             "'volseal evidence key' prints the public key that verifies evidence";
    case Code::interrupted: return "run the same command again: it goes on where it stopped";
    case Code::internal: return "this is a bug in volseal or a library; nothing further was done";
  }
  return "";
}

int exit_status_for(Code code) {
  switch (code) {
    case Code::usage: return exit_status::usage;
    case Code::bad_policy: return exit_status::policy;
    case Code::unsafe:
    case Code::tampered:
    case Code::busy:
    case Code::too_small:
    case Code::escrow_refused:
    case Code::bad_evidence:
    case Code::cannot_shrink: return exit_status::refused;
    case Code::wrong_secret: return exit_status::wrong_secret;
    case Code::no_tpm:
    case Code::tpm_failed:
    case Code::tpm_refused:
    case Code::no_key:
    case Code::key_refused: return exit_status::tpm;
    case Code::bad_graph:
    case Code::bad_report:
    case Code::not_found:
    case Code::not_luks:
    case Code::damaged:
    case Code::no_space:
    case Code::denied:
    case Code::io:
    case Code::program_failed:
    case Code::bad_blob:
    case Code::bad_key:
    case Code::interrupted:
    case Code::internal: return exit_status::failed;
  }
  return exit_status::failed;
}

int report_error(const Error& error) {
  print_err("volseal: {}\n", on_one_line(error.what()));
  const std::string_view hint = dynamic_cast<const LockedError*>(&error) != nullptr
                                    ? hint_for_locked
                                    : hint_for(error.code());
  if (!hint.empty()) {
    print_err("  {}\n", hint);
  }
  return exit_status_for(error.code());
}

}  // namespace volseal
