// When the policy locks a group down by itself: on_tamper and lock_after of its [group.NAME].
#pragma once

#include "core/base/file.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace volseal {

class Section;

// What a sign of tampering brings upon a group (docs/lock.md).
enum class OnTamper {
  tell,    // a warning, and the log
  revoke,  // the group is locked, but what is open stays open
  lock,    // the group is locked, and what nobody uses is closed
};
std::string_view to_string(OnTamper answer);

struct LockAfter {
  int failures = 0;
  int minutes = 0;  // of the window that they are counted in
};

struct LockRules {
  OnTamper on_tamper = OnTamper::tell;
  std::optional<LockAfter> lock_after;  // so many wrong keys, passphrases and PINs lock the group
};

// Of one group's table. Throws Error{bad_policy}.
LockRules read_lock_rules(const Section& group);

// Those of each group that has any, from a file that load_policy() takes; none where there is no
// file. Throws as load_policy().
std::map<std::string, LockRules> load_lock_rules(const Path& policy);
std::map<std::string, LockRules> parse_lock_rules(std::string_view text, std::string_view source);

}  // namespace volseal
