// The Merkle tree over the log's lines, RFC 6962, 2.1: only what it takes to go on.
#pragma once

#include "core/audit/hash.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::audit {

class Tree {
 public:
  void add(Hasher& hasher, std::string_view line);

  std::uint64_t size() const { return size_; }
  Hash root(Hasher& hasher) const;

  // The roots of the full subtrees, largest first, in hexadecimal: one for each bit of size().
  std::string peaks() const;
  // Nothing where the number of peaks is not that of the size.
  static std::optional<Tree> from(std::uint64_t size, std::string_view peaks);

 private:
  std::uint64_t size_ = 0;
  std::vector<Hash> peaks_;
};

}  // namespace volseal::audit
