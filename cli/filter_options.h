// --tenant, --environment and --group of verbs that tell of volumes.
#pragma once

#include "core/coverage/filter.h"

#include <CLI/CLI.hpp>

namespace volseal {

// `filter` must live as long as `verb`.
void add_filter_options(CLI::App& verb, Filter& filter);

}  // namespace volseal
