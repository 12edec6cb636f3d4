// The machine's TPM and log as verbs use them.
#pragma once

#include "cli/verb.h"
#include "core/audit/audit.h"
#include "core/enroll/protectors.h"
#include "core/policy/policy.h"
#include "core/protect/fido2.h"
#include "core/protect/group_protector.h"

#include <map>
#include <memory>
#include <string>

namespace volseal {

// The policy's group; one of that name alone where the policy has none, or cannot be read: what is
// only told of a group is told all the same.
Group known_group(const Options& options, const std::string& name);
// "Tenant A/production group tenant-a" (group_words()), by that.
std::string named_group(const Options& options, const std::string& name);
// "/dev/vg0/a of Tenant A/production", where the policy says whose the volume is; escaped. Takes no
// look at the machine: `group` is what the volume's header says, and so a name and no proof.
std::string named_volume(const Options& options, const Path& volume, const std::string& group);

// Asks at the terminal for the PIN of a group.
AskPin pin_from_terminal(const Options& options);

// A person with a FIDO2 key, at the terminal. The PIN comes from `pin_file` the first time it is
// wanted, where there is one.
Fido2Person person_at_terminal(const std::optional<Path>& pin_file = {});

// Groups of this machine, opened at most once in this process.
class Groups {
 public:
  Groups(const Options& options, const Policy& policy);
  ~Groups();
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;
  Groups(Groups&&) = delete;
  Groups& operator=(Groups&&) = delete;

  // The group's secret; the group is made where it is new. Throws Error{no_tpm, tpm_refused ...}.
  GroupMaterial open(const std::string& name);
  // Where nobody is to be asked for a PIN, as for a proof, the one that opened the group is given.
  GroupProtector& protector() { return *protector_; }
  AskPin ask_pin() const { return pin_from_terminal(options_); }

 private:
  const Options& options_;
  const Policy& policy_;
  std::map<std::string, Secret> pins_;
  std::unique_ptr<GroupProtector> protector_;
  std::map<std::string, GroupMaterial> opened_;
};

// Where the log is, and how the policy wants it kept; as by default where the policy cannot be
// read, which is said by who needs it.
AuditPlace audit_log_of(const Options& options);
// This machine's; "" where it has none.
std::string host_name();

}  // namespace volseal
