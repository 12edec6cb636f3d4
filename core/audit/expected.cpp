#include "core/audit/expected.h"

#include <algorithm>
#include <utility>

namespace volseal::audit {

void Expected::add(std::uint64_t size, const Hash& root, std::string source) {
  all_.push_back({.size = size, .root = root, .source = std::move(source)});
}

void Expected::sort() {
  std::ranges::stable_sort(all_, {}, &One::size);
}

std::optional<Expected::Mismatch> Expected::look(const Tree& tree, Hasher& hasher) {
  std::optional<Mismatch> mismatch;
  // Those of a part that is missing are passed over.
  while (next_ < all_.size() && all_[next_].size < tree.size()) ++next_;
  for (; next_ < all_.size() && all_[next_].size == tree.size(); ++next_) {
    if (tree.root(hasher) == all_[next_].root) {
      good_ = tree.size();
    } else if (!failed_) {
      failed_ = true;
      mismatch = {.after = good_, .upto = tree.size(), .source = all_[next_].source};
    }
  }
  return mismatch;
}

std::optional<Expected::Cut> Expected::beyond(std::uint64_t size) const {
  if (all_.empty() || all_.back().size <= size) return std::nullopt;
  return Cut{.size = all_.back().size, .source = all_.back().source};
}

}  // namespace volseal::audit
