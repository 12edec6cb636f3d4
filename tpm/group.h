// A group of volumes and its one sealed secret: made once, opened for every further volume.
#pragma once

#include "core/base/file.h"
#include "core/base/secret.h"
#include "core/policy/policy.h"
#include "core/protect/group_protector.h"
#include "tpm/connection.h"

#include <string>

namespace volseal::tpm {

struct OpenedGroup {
  std::string sealed;  // for GroupToken::sealed
  Secret secret;       // 32 bytes
  bool created = false;
};

struct OpenOptions {
  const Secret* pin =
      nullptr;     // a new group: seal with it. An existing one: asked for where it has one
  AskPin ask_pin;  // for an existing group
  // Also keep a late copy (late.h), so that volumes can be added after the latch has closed. Only
  // where the state folder lies on an encrypted root.
  bool late_copy = false;
};

// Opens the group's secret: what STATE/groups/NAME says, proven by an unseal; the late copy where
// the latch is closed. Where there is no such group yet, makes it: policy key, counter, sealed
// object, approval of the PCRs as they are now. Idempotent, and safe at a power cut: a key or
// counter that was begun is used by the next call, and sealed.json comes last.
//
// Throws Error{tpm_refused} with the reason (PCRs unmeasured, latch closed and no late copy, wrong
// PIN...), Error{bad_policy} for PCRs that make no sense, Error{no_tpm}, Error{tpm_failed}.
OpenedGroup open_or_create_group(Connection& tpm, const Group& group, const Path& state,
                                 const OpenOptions& options = {});

}  // namespace volseal::tpm
