#include "core/audit/chain.h"

#include "core/audit/record.h"

#include <fmt/format.h>

#include <utility>

namespace volseal::audit {

void Chain::flaw(AuditFlaw at, std::string what) {
  at.what = std::move(what);
  found_(std::move(at));
}

void Chain::begin_file(const Path& path) {
  here_ = {.line = 0, .what = "", .file = path};
}

void Chain::expect(std::uint64_t seq, std::string_view prev) {
  seq_ = seq - 1;
  prev_ = prev;
  open_flaw_ = false;
}

std::optional<AuditRecord> Chain::take(std::string_view line) {
  ++here_.line;
  auto record = from_line(line);
  const bool unclosed = open_flaw_ && !(record && record->event.action == recovered);
  if (unclosed) flaw(last_, "not an event");
  open_flaw_ = !record;
  if (record) {
    if (record->seq != seq_ + 1) {
      flaw(here_, fmt::format("number {} follows number {}", record->seq, seq_));
    } else if (record->prev != prev_ && !unclosed) {
      // Which of the two was changed is not to be known from them; the first is the likelier one.
      const bool first = last_.line == 0;
      flaw(first ? here_ : last_,
           first ? "not the first line of a log"
                 : "changed after the next line was written, or that line was");
    }
    seq_ = record->seq;
  }
  prev_ = hex(hasher_.of(line));
  last_ = here_;
  return record;
}

void Chain::end() {
  if (open_flaw_) flaw(last_, "not an event");
  open_flaw_ = false;
}

}  // namespace volseal::audit
