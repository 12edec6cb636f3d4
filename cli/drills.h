// Recording that a way in was tried: in the audit log, and where its age is read from.
#pragma once

#include "cli/verb.h"
#include "core/coverage/ways.h"
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"

#include <string>
#include <string_view>

namespace volseal {

// Who is at work: the name of who logged in, however often they changed it since.
std::string person_at_work();
// The same with where: "alice on pts/0 from 192.0.2.7"; the unit, where nobody has logged in.
std::string who_is_at_work();

// `verb`: what the person typed. `outcome` as in Attempt. Never throws: a drill that could not be
// noted is said, and was one.
void record_drill(const Options& options, std::string_view verb, const Path& volume,
                  const std::string& luks_uuid, const Way& way, Outcome outcome,
                  const std::string& reason);
// The same where only the keyslot's number is known; nothing happens where it is gone.
void record_drill(const Options& options, std::string_view verb, const Path& volume, int keyslot,
                  Outcome outcome);

}  // namespace volseal
