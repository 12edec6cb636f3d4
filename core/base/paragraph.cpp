#include "core/base/paragraph.h"

#include "core/base/escape.h"
#include "core/base/table.h"

#include <algorithm>

namespace volseal {

std::string wrapped(std::string_view first, std::string_view text, std::size_t columns) {
  constexpr std::size_t least = 20;
  const std::size_t indent = columns_of(first);
  std::string out;
  for (const std::string& line : wrap(text, std::max(columns, indent + least) - indent)) {
    out += out.empty() ? std::string(first) : std::string(indent, ' ');
    out += line + '\n';
  }
  return out;
}

}  // namespace volseal
