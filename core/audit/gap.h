// Events that found no room in the log: counted where there is room, until the log can say so.
#pragma once

#include "core/audit/audit.h"

#include <optional>
#include <span>
#include <string>

namespace volseal::audit {

// Adds a line for each to `file`, which lies on another file system (/run). Never fails.
void note_lost(const Path& file, std::span<const Event> events) noexcept;

// The file, locked, until settle(): what is lost meanwhile waits and is noted after it.
class Lost {
 public:
  // Nothing where nothing was lost.
  static std::optional<Lost> take(const Path& file);

  Event event() const;
  void settle() const;

 private:
  Lost(Path file, UniqueFd fd, std::string text)
      : file_(std::move(file)), fd_(std::move(fd)), text_(std::move(text)) {}

  Path file_;
  UniqueFd fd_;
  std::string text_;
};

}  // namespace volseal::audit
