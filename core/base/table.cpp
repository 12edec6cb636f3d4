#include "core/base/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace volseal {
namespace {

constexpr std::size_t gap = 2;
constexpr std::size_t narrowest = 4;

// The length of the character that begins `text`, and its value; `text` is valid UTF-8.
std::pair<std::size_t, std::uint32_t> first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  std::uint32_t value = lead < 0x80 ? lead : lead & (0x7fU >> length);
  for (std::size_t i = 1; i < std::min(length, text.size()); ++i) {
    value = value << 6U | (static_cast<unsigned char>(text[i]) & 0x3fU);
  }
  return {std::min(length, text.size()), value};
}

// East Asian Wide and Fullwidth (Unicode Standard Annex 11), in blocks.
std::size_t width_of(std::uint32_t character) {
  static constexpr std::array<std::pair<std::uint32_t, std::uint32_t>, 10> wide = {
      {{0x1100, 0x115f},
       {0x2e80, 0x303e},
       {0x3041, 0xa4cf},
       {0xac00, 0xd7a3},
       {0xf900, 0xfaff},
       {0xfe30, 0xfe6f},
       {0xff00, 0xff60},
       {0xffe0, 0xffe6},
       {0x1f300, 0x1faff},
       {0x20000, 0x3fffd}}};
  const bool is_wide = std::ranges::any_of(wide, [&](const auto& range) {
    return character >= range.first && character <= range.second;
  });
  return is_wide ? 2 : 1;
}

std::size_t width_of(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const auto [length, character] = first_character(text);
    width += width_of(character);
    text.remove_prefix(length);
  }
  return width;
}

// As much of `text` as fits into `columns`, at least one character.
std::string_view fitting(std::string_view text, std::size_t columns) {
  std::size_t taken = 0;
  std::size_t width = 0;
  while (taken < text.size()) {
    const auto [length, character] = first_character(text.substr(taken));
    width += width_of(character);
    if (width > columns && taken > 0) break;
    taken += length;
  }
  return text.substr(0, taken);
}

std::vector<std::size_t> widths_of(const std::vector<std::vector<Cell>>& rows,
                                   std::size_t columns) {
  std::vector<std::size_t> widths;
  std::vector<bool> whole;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    whole.resize(widths.size(), false);
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], width_of(row[i].text));
      whole[i] = whole[i] || row[i].whole;
    }
  }
  const auto total = [&] {
    std::size_t sum = widths.empty() ? 0 : (widths.size() - 1) * gap;
    for (const std::size_t width : widths) sum += width;
    return sum;
  };
  for (const bool every_column : {false, true}) {
    while (total() > columns) {
      std::size_t widest = widths.size();
      for (std::size_t i = 0; i < widths.size(); ++i) {
        if (whole[i] && !every_column) continue;
        if (widest == widths.size() || widths[i] > widths[widest]) widest = i;
      }
      if (widest == widths.size() || widths[widest] <= narrowest) break;
      --widths[widest];
    }
  }
  return widths;
}

}  // namespace

std::vector<std::string> wrap(std::string_view text, std::size_t columns) {
  std::vector<std::string> lines(1);
  std::size_t used = 0;
  // What a line begins with, the branches of a tree for example, stays with its first word.
  std::size_t from = 0;
  while (from < text.size()) {
    const std::size_t word = std::min(text.find_first_not_of(' ', from), text.size());
    const std::size_t end = std::min(text.find(' ', word), text.size());
    std::string_view piece = text.substr(from, end - from);
    if (used > 0 && used + width_of(piece) > columns) {
      lines.emplace_back();
      used = 0;
      piece = text.substr(word, end - word);
    }
    while (width_of(piece) > columns - used && !piece.empty()) {
      const std::string_view part = fitting(piece, columns - used);
      lines.back() += part;
      piece.remove_prefix(part.size());
      if (piece.empty()) break;
      lines.emplace_back();
      used = 0;
    }
    lines.back() += piece;
    used += width_of(piece);
    from = end;
  }
  return lines;
}

std::string render_table(const std::vector<std::vector<Cell>>& rows, std::size_t columns,
                         bool colour) {
  const std::vector<std::size_t> widths = widths_of(rows, columns);
  std::string out;
  for (const auto& row : rows) {
    std::vector<std::vector<std::string>> cells;
    std::size_t height = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
      cells.push_back(wrap(row[i].text, std::max<std::size_t>(widths[i], 1)));
      height = std::max(height, cells.back().size());
    }
    for (std::size_t line = 0; line < height; ++line) {
      std::string text;
      std::size_t owed = 0;  // spaces before the next cell that is not empty
      for (std::size_t i = 0; i < cells.size(); ++i) {
        const std::string cell = line < cells[i].size() ? cells[i][line] : "";
        if (!cell.empty()) {
          text.append(owed, ' ');
          owed = 0;
          const bool painted = colour && !row[i].colour.empty();
          text += painted ? fmt::format("\x1b[{}m{}\x1b[0m", row[i].colour, cell) : cell;
        }
        owed += widths[i] - std::min(width_of(cell), widths[i]) + gap;
      }
      out += text + '\n';
    }
  }
  return out;
}

}  // namespace volseal
