// STATE/groups/NAME: what a group keeps on the (encrypted) root. Root-only, every file whole or
// absent.
#pragma once

#include "core/base/file.h"
#include "core/base/secret.h"
#include "tpm/policy_key.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace volseal::tpm {

class GroupState {
 public:
  // Throws Error{bad_policy} for a name that is no plain file name. Touches nothing yet.
  GroupState(const Path& state, const std::string& group);

  const Path& folder() const { return folder_; }

  // The master copy of the `sealed` text of every token of the group; nothing before the group
  // exists.
  std::optional<std::string> sealed() const;
  void save_sealed(const std::string& text) const;

  // The key of that public point; nothing where another one, or none, is there.
  std::optional<PolicyKey> policy_key(const Bytes& public_point) const;
  // The key of a group that is being made.
  std::optional<PolicyKey> policy_key() const;
  void save_policy_key(const PolicyKey& key) const;
  // Changing it: the next key is written beside the old one, sealed.json then says which one
  // counts, and the loser goes. A cut anywhere leaves the key that sealed.json names.
  void save_next_policy_key(const PolicyKey& key) const;
  void settle_policy_key(const Bytes& public_point) const;

  // Renames the folder out of the way, so that the group is none of this machine's any more; its
  // new name.
  Path set_aside() const;

  // The firmware's log at the last approval; "" where there was none.
  std::optional<std::string> event_log() const;
  void save_event_log(const std::string& log) const;

  // The NV index of the revocation counter, written down before it is defined.
  std::optional<std::uint32_t> counter() const;
  void save_counter(std::uint32_t index) const;

  // The late copy: object and auth value.
  std::optional<std::string> late() const;
  std::optional<Secret> late_auth() const;
  void save_late(const std::string& text, const Secret& auth) const;

 private:
  Path folder_;
};

// The groups that have a folder there.
std::vector<std::string> groups_in(const Path& state);

}  // namespace volseal::tpm
