// The TPM as core/unlock and core/enroll see it.
#pragma once

#include "core/base/file.h"
#include "core/protect/group_protector.h"
#include "tpm/connection.h"

#include <optional>
#include <string>

namespace volseal {

class TpmGroupProtector : public GroupProtector {
 public:
  // Connects on first use; a TPM that is absent is Outcome::unavailable, not an Error.
  // `state`: the state folder, for volumes that arrive after the latch has closed: then the late
  // copy of their group opens. Empty (early in boot): approvals alone.
  explicit TpmGroupProtector(std::string tcti = {}, tpm::ConnectOptions options = {},
                             Path state = {});
  ~TpmGroupProtector() override;

  // One unseal; opening 64 volumes of a group takes one call, whose secret the caller keeps that
  // long. `sealed` is hostile. What is not opened never stops the caller from trying something
  // else.
  GroupKey recover(const std::string& sealed, const AskPin& ask_pin) override;

  // Lets go of the TPM, until recover() is called again. Before a fork(): /dev/tpm0 is one
  // process's at a time, and a child keeps it for as long as it runs.
  void disconnect();

 private:
  std::string tcti_;
  tpm::ConnectOptions options_;
  Path state_;
  std::optional<tpm::Connection> tpm_;
};

}  // namespace volseal
