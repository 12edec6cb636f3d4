// A folder of the last reports: what `check --keep` compares with and adds to.
#pragma once

#include "core/base/file.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

class ReportShelf {
 public:
  // Made where it is missing, for root only.
  explicit ReportShelf(Path folder);

  // Oldest first; only files that add() named.
  std::vector<Path> reports() const;
  // `made_at`: RFC 3339, UTC. The oldest go where there are more than `most`; what else is in the
  // folder stays.
  void add(std::string_view json, const std::string& made_at, std::size_t most) const;

 private:
  Path folder_;
};

}  // namespace volseal
