// How an attempt to open is told to people and to scripts.
#pragma once

#include "core/unlock/unlocker.h"

#include <string_view>

namespace volseal {

int exit_status_for(Outcome outcome);
// What the person can do after that outcome; "" for opened.
std::string_view hint_for(Outcome outcome);
// One line on standard output when it opened ("VERB" as in "opens"), two on standard error when
// not; returns the exit status.
int report_attempt(const Attempt& attempt, std::string_view verb);

}  // namespace volseal
