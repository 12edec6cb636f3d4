// Wall clock and boot clock, as they are printed and logged.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace volseal {

// RFC 3339 in UTC with milliseconds: "2024-05-01T12:34:56.789Z".
std::string utc_now();
// What utc_now() writes, as milliseconds since 1970; nothing for anything else.
std::optional<std::chrono::milliseconds> parse_time(std::string_view text);
// "YYYY-MM-DD", and what may follow a day of RFC 3339; nothing where that is no day.
std::optional<std::chrono::sys_days> parse_day(std::string_view text);
// The days from one to the other; nothing where either is none.
std::optional<int> days_between(std::string_view from, std::string_view to);
// Milliseconds since the machine started, suspend included (CLOCK_BOOTTIME).
std::chrono::milliseconds since_boot();
// The kernel's id of this boot, or "" where there is none.
std::string boot_id();

}  // namespace volseal
