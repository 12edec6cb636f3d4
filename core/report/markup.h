// Text from devices and policies on its way into a form; for core/report/*.cpp.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::report {

// What a device said, on one line: escaped(), with room for a long mount point.
std::string plain(std::string_view text);
// For XML and HTML, between tags and in quoted attributes; `text` is escaped already.
std::string markup(std::string_view text);
// plain(), then markup().
std::string plain_markup(std::string_view text);
// Each plain(), with `between` in between.
std::string joined(const std::vector<std::string>& list, std::string_view between);
// Reasons are escaped by who makes them.
std::string joined_reasons(const std::vector<std::string>& reasons, std::string_view between);

// RFC 3339 in UTC as clock.h writes it; nothing else is a time to put into a form.
bool is_time(std::string_view text);
// Seconds since 1970; 0 where it is no time.
double seconds_of(std::string_view time);

// RFC 9562, version 5, in a name space of this program.
std::string uuid_of(std::string_view name);
// SHA-256, as content security policies write it.
std::string digest_base64(std::string_view text);

}  // namespace volseal::report
