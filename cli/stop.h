// SIGINT and SIGTERM during work that stops at its next safe point.
#pragma once

namespace volseal {

// From now on both signals are remembered, and end nothing by themselves.
void stop_on_signals();
bool stop_is_wanted();

}  // namespace volseal
