// volseal lock; see verb.h.
#pragma once

#include "cli/verb.h"

namespace volseal {

void add_lock(CLI::App& app, Session& session);

}  // namespace volseal
