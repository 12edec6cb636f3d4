// The escrow of each group of the policy, as the verbs that make recovery keys use it.
#pragma once

#include "core/audit/audit.h"
#include "core/escrow/escrow.h"
#include "core/policy/policy.h"

#include <CLI/CLI.hpp>

#include <map>
#include <optional>
#include <string>

namespace volseal {

// --escrow-fd.
void add_escrow_fd(CLI::App& verb, std::optional<int>& descriptor);

class Escrows {
 public:
  // `descriptor` takes the place of the policy's destinations.
  Escrows(const Policy& policy, const AuditLog& audit, std::optional<int> descriptor);

  // The policy wants the group's recovery keys in escrow; a group that is not in it, nobody's.
  bool keeps(const std::string& group) const;
  // A person gets a copy too.
  bool shows(const std::string& group) const;
  // Reads the certificates and looks at the destination, where the group has any. Throws
  // Error{escrow_refused ...}.
  void require_ready(const std::string& group);
  // Before and after it there is a line in the audit log. Throws Error{escrow_refused}.
  EscrowReceipt deposit(const std::string& group, const std::string& volume,
                        const std::string& luks_uuid, const Secret& key);

 private:
  const escrow::Escrow& ready(const std::string& group);
  const EscrowPolicy* find(const std::string& group) const;

  const Policy& policy_;
  const AuditLog& audit_;
  std::optional<int> descriptor_;
  std::map<std::string, escrow::Escrow> ready_;
};

}  // namespace volseal
