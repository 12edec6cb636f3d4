// Quota: a device that changes all the time is told so often a minute, and then counted. Findings
// of all others are told as before.
#pragma once

#include "core/watch/finding.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace volseal {

class Quota {
 public:
  static constexpr std::uint64_t most = 120;  // of one device
  static constexpr std::int64_t minute_ms = 60'000;

  // What is to be told of `findings` now, in their order. The last one of a device that still is
  // told says how many more there were, once its minute is over.
  std::vector<Finding> admit(std::vector<Finding> findings, std::int64_t now_ms);
  // When something is to be told though nothing happens; INT64_MAX: nothing waits.
  std::int64_t due() const;

 private:
  struct Account {
    std::int64_t since_ms = 0;
    std::uint64_t told = 0;
    std::map<Happening, std::uint64_t> untold;
    Finding last;  // of those that were not told
  };
  // By name: each loop device or stick that comes anew has another sequence number.
  std::map<std::string, Account> accounts_;
};

}  // namespace volseal
