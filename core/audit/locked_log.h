// audit.log, open and locked: who holds it is the only writer.
#pragma once

#include "core/audit/audit.h"
#include "core/audit/files.h"
#include "core/audit/tail.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace volseal::audit {

class LockedLog {
 public:
  // Made where it is missing. A file that has reached the size of the rules is closed, and a new
  // one begun. Waits for other writers, up to ten seconds (then Error{busy}).
  static LockedLog open(const AuditPlace& place);

  const Tail& tail() const { return tail_; }
  // What has to be said before anything else: which file was closed, what a power cut tore, that
  // the clock was set back.
  const std::vector<Event>& first_events() const { return first_; }

  // Throws Error{no_space}.
  void reserve(std::size_t bytes) const;
  // Whole or not at all, as far as that can be had. Throws Error{no_space}, with the log as it was.
  void append(std::string_view text, bool sync) const;
  // Never throws: the events are recorded, and the next checkpoint covers them too.
  void write_checkpoint() const noexcept;

 private:
  LockedLog(Path path, UniqueFd fd, std::uint64_t size);

  void close_file() const;
  void follow_closed_file(std::uint64_t number);
  void look_at_clock();
  Snapshot files() const;

  Path path_;
  UniqueFd fd_;
  std::uint64_t size_;
  std::uint64_t allocated_ = 0;
  Tail tail_;
  std::vector<Event> first_;
};

}  // namespace volseal::audit
