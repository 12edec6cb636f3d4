#include "tpm/protector.h"

#include "core/base/error.h"
#include "tpm/unseal.h"

namespace volseal {

TpmGroupProtector::TpmGroupProtector(std::string tcti, tpm::ConnectOptions options)
    : tcti_(std::move(tcti)), options_(options) {}

TpmGroupProtector::~TpmGroupProtector() = default;

GroupKey TpmGroupProtector::recover(const std::string& sealed, const AskPin& ask_pin) {
  GroupKey key;
  try {
    // Parsed first: garbage is damaged whether or not there is a TPM.
    const tpm::SealedGroup parsed = tpm::parse_sealed(sealed);
    if (!tpm_) tpm_ = tpm::Connection::connect(tcti_, options_);
    key = tpm::unseal(*tpm_, parsed, ask_pin);
  } catch (const Error& error) {
    key.outcome = error.code() == Code::damaged ? Outcome::damaged : Outcome::unavailable;
    key.reason = error.what();
  }
  // A connection that broke is made anew by the next call.
  if (key.outcome == Outcome::unavailable) tpm_.reset();
  return key;
}

}  // namespace volseal
