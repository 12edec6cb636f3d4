#include "core/watch/quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

std::string counted(const std::map<Happening, std::uint64_t>& untold) {
  std::uint64_t all = 0;
  std::string kinds;
  for (const auto& [what, count] : untold) {
    all += count;
    kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", count, to_string(what));
  }
  return fmt::format("{} more findings of it were not told one by one: {}", all, kinds);
}

}  // namespace

std::vector<Finding> Quota::admit(std::vector<Finding> findings, std::int64_t now_ms) {
  std::vector<Finding> told;
  for (auto at = accounts_.begin(); at != accounts_.end();) {
    Account& account = at->second;
    if (now_ms - account.since_ms < minute_ms) {
      ++at;
      continue;
    }
    if (!account.untold.empty()) {
      account.last.what = Happening::repeated;
      account.last.since_ms = account.since_ms;
      account.last.changes = {counted(account.untold)};
      told.push_back(std::move(account.last));
    }
    at = accounts_.erase(at);
  }
  for (Finding& finding : findings) {
    if (finding.what == Happening::blind) {
      told.push_back(std::move(finding));
      continue;
    }
    Account& account =
        accounts_.try_emplace(finding.volume.name, Account{.since_ms = now_ms}).first->second;
    if (account.told < most) {
      ++account.told;
      told.push_back(std::move(finding));
    } else {
      ++account.untold[finding.what];
      account.last = std::move(finding);
    }
  }
  return told;
}

std::int64_t Quota::due() const {
  std::int64_t due = INT64_MAX;
  for (const auto& [name, account] : accounts_) {
    if (!account.untold.empty()) due = std::min(due, account.since_ms + minute_ms);
  }
  return due;
}

}  // namespace volseal
