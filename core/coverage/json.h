// The coverage as a JSON value, for who writes more around it.
#pragma once

#include "core/coverage/coverage.h"

#include <nlohmann/json.hpp>

namespace volseal {

nlohmann::ordered_json json_of(const Coverage& coverage);

}  // namespace volseal
