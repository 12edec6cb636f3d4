// An attempt as JSON: the same in `volseal unlock --json` and in the report of a boot.
#pragma once

#include "core/unlock/unlocker.h"

#include <nlohmann/json_fwd.hpp>

namespace volseal {

nlohmann::ordered_json json_of(const Attempt& attempt);

// Throws Error{damaged} for what is no such object.
Attempt attempt_from_json(const nlohmann::ordered_json& json);

}  // namespace volseal
