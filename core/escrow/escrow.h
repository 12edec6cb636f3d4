// Recovery key → blobs, sealed to the policy's certificates and acknowledged by its destination.
#pragma once

#include "core/base/secret.h"
#include "core/escrow/certificate.h"
#include "core/policy/policy.h"
#include "core/protect/escrow_token.h"

#include <ctime>
#include <optional>
#include <string>
#include <vector>

namespace volseal::escrow {

// The escrow of one group, looked at before anything depends on it.
class Escrow {
 public:
  // Reads and checks the certificates and looks at the destination. `descriptor`: instead of the
  // policy's destination. Throws Error{escrow_refused, not_found ...} with what is wrong.
  Escrow(const EscrowPolicy& policy, std::time_t now, std::optional<int> descriptor = {});

  struct Of {
    std::string luks_uuid;
    std::string host;
    std::string group;
  };
  // Returns once it is acknowledged; throws Error{escrow_refused} where it is not.
  EscrowReceipt deposit(const Of& of, const Secret& key) const;

  int threshold() const { return policy_.threshold; }
  const std::vector<Certificate>& certificates() const { return certificates_; }

 private:
  EscrowPolicy policy_;
  std::vector<Certificate> certificates_;
  std::optional<int> descriptor_;
};

}  // namespace volseal::escrow
