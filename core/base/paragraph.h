// Text in lines, behind a number, a dash or a title.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace volseal {

// `text` in lines of at most `columns`; the first begins with `first`, the others are indented as
// far. Each ends with a newline.
std::string wrapped(std::string_view first, std::string_view text, std::size_t columns);

}  // namespace volseal
