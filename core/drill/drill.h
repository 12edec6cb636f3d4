// When each way in was last shown to open its volume, and by whom: a small file beside the audit
// log, so that the age of a drill is known without reading all of that.
#pragma once

#include "core/base/file.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// One keyslot. Keyslots are known by their fingerprint (core/device/device.h): one that got another
// key was never drilled.
struct Drill {
  std::string luks_uuid;
  std::string fingerprint;
  int keyslot = 0;
  std::string kind;     // "fido2", "recovery-key" ...
  std::string volume;   // the node by which it was reached
  std::string opened;   // when it opened last, RFC 3339, UTC; "": never
  std::string tried;    // when it was tried last
  std::string outcome;  // of that
  std::string person;   // who did that
};

// STATE/drills.json, schema "volseal-drills/1". Nothing was drilled where there is no file. Strict;
// throws Error{damaged}.
std::vector<Drill> load_drills(const Path& state);
std::vector<Drill> parse_drills(std::string_view json);
std::string to_json(const std::vector<Drill>& drills);

// Takes the place of what was known of the same keyslot; where `drill` did not open, the time when
// it last did stays. On disk when it returns, whole or absent after a power cut; other processes
// wait. Of keyslots that were not tried longest, more than 4096 are forgotten.
void note_drill(const Path& state, Drill drill);

// Nothing: never tried.
const Drill* find_drill(const std::vector<Drill>& drills, std::string_view luks_uuid,
                        std::string_view fingerprint);

}  // namespace volseal
