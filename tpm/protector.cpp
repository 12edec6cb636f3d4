#include "tpm/protector.h"

#include "core/base/error.h"
#include "tpm/late.h"
#include "tpm/pcr.h"
#include "tpm/state.h"
#include "tpm/unseal.h"

namespace volseal {

TpmGroupProtector::TpmGroupProtector(std::string tcti, tpm::ConnectOptions options, Path state)
    : tcti_(std::move(tcti)), options_(std::move(options)), state_(std::move(state)) {}

TpmGroupProtector::~TpmGroupProtector() = default;

void TpmGroupProtector::disconnect() {
  tpm_.reset();
}

GroupKey TpmGroupProtector::recover(const std::string& sealed, const AskPin& ask_pin) {
  GroupKey key;
  try {
    // Parsed first: garbage is damaged whether or not there is a TPM.
    const tpm::SealedGroup parsed = tpm::parse_sealed(sealed);
    if (!tpm_) tpm_ = tpm::Connection::connect(tcti_, options_);
    if (!state_.empty() && tpm::latch_closed(*tpm_, parsed.bank, parsed.latch)) {
      // The secret is the group's, whatever this text says; the header's binding tells whether the
      // volume is of that group.
      key = tpm::recover_late(*tpm_, tpm::GroupState(state_, parsed.group));
      if (key.outcome == Outcome::opened) return key;
    }
    key = tpm::unseal(*tpm_, parsed, ask_pin);
  } catch (const Error& error) {
    key.outcome = error.code() == Code::damaged || error.code() == Code::bad_policy
                      ? Outcome::damaged
                      : Outcome::unavailable;
    key.reason = error.what();
  }
  // A connection that broke is made anew by the next call.
  if (key.outcome == Outcome::unavailable) tpm_.reset();
  return key;
}

}  // namespace volseal
