// The TPM as core/unlock and core/enroll see it.
#pragma once

#include "core/protect/group_protector.h"
#include "tpm/connection.h"

#include <optional>
#include <string>

namespace volseal {

class TpmGroupProtector : public GroupProtector {
 public:
  // Connects on first use; a TPM that is absent is Outcome::unavailable, not an Error.
  explicit TpmGroupProtector(std::string tcti = {}, tpm::ConnectOptions options = {});
  ~TpmGroupProtector() override;

  // One unseal; opening 64 volumes of a group takes one call, whose secret the caller keeps that
  // long. `sealed` is hostile. What is not opened never stops the caller from trying something
  // else.
  GroupKey recover(const std::string& sealed, const AskPin& ask_pin) override;

 private:
  std::string tcti_;
  tpm::ConnectOptions options_;
  std::optional<tpm::Connection> tpm_;
};

}  // namespace volseal
