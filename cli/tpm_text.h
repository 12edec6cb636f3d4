// What volseal tpm prints, for people and for programs.
#pragma once

#include "cli/verb.h"
#include "tpm/approval.h"
#include "tpm/explain.h"

#include <string>
#include <vector>

namespace volseal {

struct ExplainedGroup {
  std::string group;
  int latch = 15;
  tpm::Explanation explanation;
};

// JSON: schema "volseal-tpm-status/1".
void print_status(const std::vector<tpm::GroupStatus>& groups, bool json, const Options& options);
// JSON: schema "volseal-tpm-explain/1".
void print_explanations(const std::vector<ExplainedGroup>& groups, bool json,
                        const Options& options);

}  // namespace volseal
