// Error: a function that could not do its job. Outcomes that are no surprise (a wrong PIN, a PCR
// that moved) are values of the stage that knows them, never exceptions.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace volseal {

// What kind of failure it was, in terms a person can act on. cli/hints.cpp has the advice for each.
enum class Code {
  usage,           // the command line asks for something that makes no sense
  bad_policy,      // policy.toml is not what it should be
  bad_graph,       // a saved device graph is not what it should be
  bad_report,      // a saved report is not what it should be
  bad_evidence,    // evidence that does not prove what it says
  not_found,       // no such device, file, keyslot, group
  not_luks,        // there is no LUKS header where one is needed
  damaged,         // a header, token or journal contradicts itself
  unsafe,          // doing it might lose data or lock somebody out, so it is not done
  tampered,        // what is there is not what was enrolled
  busy,            // mounted, claimed, or another volseal is at work
  too_small,       // no room for a LUKS header
  cannot_shrink,   // the file system cannot make room for a LUKS header
  no_space,        // the disk that should take a file is full
  denied,          // the kernel says that we may not
  io,              // the device or file answers with an error
  wrong_secret,    // no keyslot opens with what was given
  no_tpm,          // no TPM, or none that answers
  tpm_failed,      // the TPM answers that it is in failure mode
  tpm_refused,     // the TPM answers, and says no
  no_key,          // no FIDO2 key is plugged in, or it was pulled out
  key_refused,     // the FIDO2 key answers, and says no
  program_failed,  // a program that we ran said no
  escrow_refused,  // a certificate must not be given a key, or nobody acknowledged having it
  bad_blob,        // an escrow blob is not what it should be
  bad_key,         // a private key or its token cannot be used
  interrupted,     // a person or a signal stopped it
  internal,        // a bug here, or a library that broke its word
};

std::string_view to_string(Code code);

class Error : public std::runtime_error {
 public:
  // `message`: what was being done, to what; lower case, no full stop, no secret.
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}

  template <typename... Args>
  Error(Code code, fmt::format_string<Args...> format, Args&&... args)
      : Error(code, fmt::format(format, std::forward<Args>(args)...)) {}

  Code code() const { return code_; }

 private:
  Code code_;
};

// The code for an errno value, either sign.
Code code_of_errno(int error);

// Throws Error{code_of_errno(error), "WHAT: strerror"}; `error` may be negative, as libraries
// return it.
[[noreturn]] void throw_errno_text(int error, const std::string& what);

template <typename... Args>
[[noreturn]] void throw_errno(int error, fmt::format_string<Args...> format, Args&&... args) {
  throw_errno_text(error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace volseal
