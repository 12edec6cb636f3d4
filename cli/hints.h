// Typed error → what the person can do next, and the exit status.
#pragma once

#include "core/base/error.h"

#include <string_view>

namespace volseal {

// One line of advice; "" where there is none to give.
std::string_view hint_for(Code code);
int exit_status_for(Code code);

// "volseal: MESSAGE" and "  HINT" on standard error; returns the exit status.
int report_error(const Error& error);

}  // namespace volseal
