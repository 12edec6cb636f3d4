// Text in columns that never grows wider than it may.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct Cell {
  std::string text;         // escaped already; valid UTF-8
  std::string_view colour;  // SGR parameters, such as "1;31"; empty: none
  bool whole = false;       // wrapped only when nothing else is left to give way
};

// One line a row, or more where a cell has to be wrapped to keep all columns within `columns`: the
// widest columns give way first. Wide characters count as two. No column is narrower than 4 or its
// longest cell, so fewer than about 6 times as many `columns` as there are columns are exceeded.
std::string render_table(const std::vector<std::vector<Cell>>& rows, std::size_t columns,
                         bool colour);

// `text` broken between words, and inside words that are too long, into lines of at most `columns`.
std::vector<std::string> wrap(std::string_view text, std::size_t columns);

}  // namespace volseal
