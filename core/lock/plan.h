// What locking a group down would do, and whether people could still get in afterwards. Pure.
#pragma once

#include "core/coverage/ways.h"
#include "core/device/device.h"
#include "core/drill/drill.h"

#include <span>
#include <string>
#include <vector>

namespace volseal {

// Whether a way can be gone when the TPM opens nothing: a person has a part in it, the TPM none.
bool without_tpm(const Way& way);

// What somebody must have, know or be for one that has opened, or several together. Ways of the
// same kind count once: two recovery keys may lie in one drawer.
struct Given {
  std::string kind;
  int factors = 0;
};
int factors_of(std::span<const Given> ways);

// Asked of people where a group is locked.
inline constexpr int recovery_factors = 2;

enum class Recovery {
  proven,      // ways of two factors, each of which a drill has opened
  unproven,    // two factors, but not all of them were drilled
  one_factor,  // ways for people, of one factor in all
  none,        // nothing but the TPM opens it
};
std::string_view to_string(Recovery recovery);

struct LockedWay {
  Way way;
  std::string drilled;  // when a drill has opened it last; "": never
};

struct LockedVolume {
  std::string path;
  std::string luks_uuid;
  DeviceIndex device = 0;
  std::string mapping;  // name under /dev/mapper; "": it is not open
  std::vector<DeviceIndex> above;
  std::vector<int> tpm_keyslots;  // that nothing but the TPM opens
  std::vector<LockedWay> ways;    // without_tpm()
  Recovery recovery = Recovery::none;
  // Who has what is opened from it: "mounted at /srv", "swap", "/dev/mapper/vg-lv stands on it";
  // empty: nobody, as far as the graph knows. Not escaped.
  std::vector<std::string> busy;
};

struct LockPlan {
  std::string group;
  std::vector<LockedVolume> volumes;

  // The worst of all volumes; proven where there is none.
  Recovery recovery() const;
};

// The volumes whose header has a token of the group, or a note that it is locked.
LockPlan plan_lock(const DeviceGraph& graph, const std::string& group,
                   const std::vector<Drill>& drills);

// Of one volume, the mapping and what stands on it included.
LockedVolume look_at_locked(const DeviceGraph& graph, DeviceIndex at,
                            const std::vector<Drill>& drills);

}  // namespace volseal
