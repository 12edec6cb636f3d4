#include "core/audit/tail.h"

#include "core/audit/lines.h"
#include "core/base/digest.h"
#include "core/base/error.h"

#include <algorithm>
#include <string_view>

namespace volseal::audit {

namespace {

// Nearly always enough; the whole MiB only where lines are long, or are no events.
constexpr std::size_t first_look = 8U << 10U;

// Nothing where `text`, which does not begin at the file's start, is too short to say.
std::optional<Tail> tail_in(std::string_view text, bool from_start, const Path& path, bool final) {
  Tail tail;
  tail.torn = !text.ends_with('\n');
  if (!tail.torn) text.remove_suffix(1);
  bool last = true;
  // From the end, line by line, to the first that is an event: its number goes on.
  for (;;) {
    const auto newline = text.rfind('\n');
    if (newline == std::string_view::npos && !from_start) {
      if (!final) return std::nullopt;
      if (!last) return tail;
      throw Error(Code::damaged, "read {}: its last line is longer than 1 MiB; move the file aside",
                  path.native());
    }
    const std::string_view line =
        newline == std::string_view::npos ? text : text.substr(newline + 1);
    tail.last = from_line(line);
    if (last) {
      tail.prev = sha256_hex(line);
      if (!tail.last)
        tail.why = tail.torn ? "the last line was cut off" : "the last line is no event";
      last = false;
    }
    if (tail.last) {
      tail.seq = tail.last->seq;
      // Everything of the event is there but its newline: only that was lost.
      return tail;
    }
    if (newline == std::string_view::npos) return tail;
    text = text.substr(0, newline);
  }
}

}  // namespace

Tail tail_of(int fd, std::uint64_t size, const Path& path) {
  if (size == 0) return {};
  for (const std::size_t look : {first_look, longest_line}) {
    const std::uint64_t start = size - std::min<std::uint64_t>(size, look);
    const std::string text = read_at(fd, start, static_cast<std::size_t>(size - start), path);
    if (auto tail = tail_in(text, start == 0, path, look == longest_line)) return *std::move(tail);
  }
  return {};
}

}  // namespace volseal::audit
