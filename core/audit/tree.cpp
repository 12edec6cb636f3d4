#include "core/audit/tree.h"

#include "core/base/base64.h"

#include <algorithm>
#include <bit>

namespace volseal::audit {

void Tree::add(Hasher& hasher, std::string_view line) {
  Hash hash = hasher.leaf(line);
  // As adding 1 to a binary number carries: two subtrees of one size become one of twice that.
  for (std::uint64_t carry = size_; (carry & 1U) != 0; carry >>= 1U) {
    hash = hasher.node(peaks_.back(), hash);
    peaks_.pop_back();
  }
  peaks_.push_back(hash);
  ++size_;
}

Hash Tree::root(Hasher& hasher) const {
  if (peaks_.empty()) return hasher.of("");
  Hash hash = peaks_.back();
  for (auto peak = peaks_.rbegin() + 1; peak != peaks_.rend(); ++peak)
    hash = hasher.node(*peak, hash);
  return hash;
}

std::string Tree::peaks() const {
  std::string text;
  for (const Hash& peak : peaks_) text += hex(peak);
  return text;
}

std::optional<Tree> Tree::from(std::uint64_t size, std::string_view peaks) {
  const auto bytes = from_hex(peaks);
  constexpr std::size_t hash_size = sizeof(Hash);
  if (!bytes || bytes->size() != static_cast<std::size_t>(std::popcount(size)) * hash_size)
    return std::nullopt;
  Tree tree;
  tree.size_ = size;
  for (auto at = bytes->begin(); at != bytes->end(); at += hash_size)
    std::copy_n(at, hash_size, tree.peaks_.emplace_back().begin());
  return tree;
}

}  // namespace volseal::audit
