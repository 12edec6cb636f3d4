#include "core/watch/ledger.h"

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t max_gaps = 4096;

}  // namespace

void SequenceGaps::saw(std::uint64_t seqnum, std::int64_t now_ms) {
  if (seqnum == 0) return;
  if (seqnum > highest_) {
    if (highest_ != 0 && seqnum > highest_ + 1) {
      gaps_.push_back(
          {.first = highest_ + 1, .last = seqnum - 1, .since_ms = last_ms_, .noticed_ms = now_ms});
    }
    highest_ = seqnum;
  } else {
    const auto at = std::ranges::find_if(
        gaps_, [&](const Gap& gap) { return gap.first <= seqnum && seqnum <= gap.last; });
    if (at == gaps_.end()) return;  // from before the watch began, or already counted as lost
    // The gap becomes two smaller ones, one or none.
    const Gap gap = *at;
    auto next = gaps_.erase(at);
    if (seqnum < gap.last) {
      next = gaps_.insert(next, gap);
      next->first = seqnum + 1;
    }
    if (gap.first < seqnum) {
      next = gaps_.insert(next, gap);
      next->last = seqnum - 1;
    }
  }
  last_ms_ = now_ms;
  if (gaps_.size() > max_gaps) {
    const Gap& oldest = gaps_.front();
    if (given_up_.count == 0) given_up_.since_ms = oldest.since_ms;
    given_up_.count += oldest.last - oldest.first + 1;
    gaps_.erase(gaps_.begin());
  }
}

SequenceGaps::Missing SequenceGaps::overdue(std::int64_t now_ms, std::int64_t patience_ms) {
  Missing missing = std::exchange(given_up_, {});
  std::erase_if(gaps_, [&](const Gap& gap) {
    if (now_ms - gap.noticed_ms < patience_ms) return false;
    if (missing.count == 0) missing.since_ms = gap.since_ms;
    missing.count += gap.last - gap.first + 1;
    return true;
  });
  return missing;
}

}  // namespace volseal
