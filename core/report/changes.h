// What got better and what got worse between an earlier report and this one.
#pragma once

#include "core/report/report.h"

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// Of a report of schema "volseal-coverage/1". Throws Error{bad_report}, "SOURCE: what is wrong".
struct EarlierVolume {
  std::string id;
  std::string path;
  std::string luks_uuid;
  Verdict verdict = Verdict::unknown;
  double percent = 0;
  std::uint32_t key_bits = 0;
  std::size_t reasons = 0;  // how many
  std::vector<std::string> protectors;
  std::string policy_group, tenant, environment;  // "" in reports of older releases
};

struct EarlierReport {
  std::string host;
  std::string taken_at;
  Filter filter;
  std::vector<EarlierVolume> volumes;
};

EarlierReport parse_earlier_report(std::string_view text, std::string_view source);

// A volume is the same one where its id is; else where its LUKS UUID is, since disks move. Throws
// Error{bad_report} where the earlier report is of another host, or of another part of this one:
// all would be gone and all new. Of one of the whole machine, the part counts that this one is of.
Comparison compare(const EarlierReport& earlier, const Report& now);

std::string changes_text(const Comparison& comparison, const TextOptions& options);

}  // namespace volseal
