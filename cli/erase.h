// volseal erase.
#pragma once

#include "cli/verb.h"

namespace volseal {

void add_erase(CLI::App& app, Session& session);

}  // namespace volseal
