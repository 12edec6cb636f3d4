// What a device says of itself (labels, serials, models) is hostile until escaped.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace volseal {

// For a terminal or a log line: control characters, invalid UTF-8, bidirectional and zero-width
// characters and the backslash become \xNN; the rest stays. At most `limit` bytes of input are
// shown.
std::string escaped(std::string_view text, std::size_t limit = 256);

// The last line of defence for a whole message, parts of which may be escaped already: as
// escaped(), but backslashes stay and nothing is cut.
std::string on_one_line(std::string_view text);

// The number of terminal columns that valid, escaped UTF-8 text takes (one a code point).
std::size_t columns_of(std::string_view text);

// Replaces what is not UTF-8 by U+FFFD, so that it can be put into JSON.
std::string to_valid_utf8(std::string_view text);

}  // namespace volseal
