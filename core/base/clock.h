// Wall clock and boot clock, as they are printed and logged.
#pragma once

#include <chrono>
#include <string>

namespace volseal {

// RFC 3339 in UTC with milliseconds: "2024-05-01T12:34:56.789Z".
std::string utc_now();
// Milliseconds since the machine started, suspend included (CLOCK_BOOTTIME).
std::chrono::milliseconds since_boot();
// The kernel's id of this boot, or "" where there is none.
std::string boot_id();

}  // namespace volseal
