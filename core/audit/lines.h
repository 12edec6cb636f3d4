// A file of the log, line by line, in memory that does not grow with it.
#pragma once

#include "core/base/file.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace volseal::audit {

// Nothing that writes the log makes a line of this size; beyond it, Error{damaged}.
inline constexpr std::size_t longest_line = 1U << 20U;

class LineReader {
 public:
  struct Line {
    std::string_view text;  // without its newline; until the next call
    bool ended = true;      // false: the file ends without a newline
  };

  // Bytes `begin` to `end` of what `fd` has open; `path` is for messages.
  LineReader(int fd, Path path, std::uint64_t begin, std::uint64_t end);

  // Nothing at the end. Throws Error{io} where the file became shorter.
  std::optional<Line> next();
  // Of the byte behind the line that next() gave.
  std::uint64_t offset() const { return read_ - (buffer_.size() - at_); }

 private:
  void fill();

  int fd_;
  Path path_;
  std::uint64_t read_;
  std::uint64_t end_;
  std::string buffer_;
  std::size_t at_ = 0;
};

// Exactly these bytes of a file. Throws Error{io} where it is shorter.
std::string read_at(int fd, std::uint64_t offset, std::size_t size, const Path& path);

}  // namespace volseal::audit
