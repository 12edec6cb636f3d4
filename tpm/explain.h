// Why the PCRs are not as approved: the approved boot's events against this boot's.
#pragma once

#include "core/base/file.h"
#include "tpm/connection.h"
#include "tpm/event_log.h"
#include "tpm/sealed_group.h"

#include <optional>
#include <string>
#include <vector>

namespace volseal::tpm {

struct PcrDifference {
  int pcr = 0;
  bool log_agrees = true;            // replaying this boot's log leads to what the PCR holds
  std::vector<std::string> changes;  // "dbx was updated"; empty where nothing says more
};

struct Explanation {
  bool latch_closed = false;
  bool log_there = false;
  std::string log_problem;  // why there is no usable log
  std::vector<PcrDifference>
      differences;  // against the approved state that is nearest; empty: none
};

// Reads PCRs and this boot's log. `approved_log`: the log as it was at the last approval, where the
// state folder has it; it can name what is gone. Without it the prefixes in `sealed` still find
// what is new. Throws TPM errors only.
Explanation explain(Connection& tpm, const SealedGroup& sealed,
                    const std::optional<EventLog>& approved_log = {});

// What is new in a PCR's events: "dbx was updated". Pure; explain() calls it for every PCR that
// moved. Empty where nothing is known of the approved boot, or nothing differs.
std::vector<std::string> changes_of(const SealedGroup& sealed, int pcr,
                                    const std::optional<EventLog>& approved_log,
                                    const EventLog& now);

// One sentence: "PCR 7 is not as approved: dbx was updated".
std::string summary(const Explanation& explanation, int latch);

// Five bytes an event of the bound PCRs: PCR and the first four of its digest. PCRs with the most
// events are left out until they are no more than max_event_prefixes.
Bytes event_prefixes(const EventLog& log, const SealedGroup& sealed);

// The log of this machine's firmware; nothing where there is none. Throws Error{damaged, io}.
std::optional<std::string> read_event_log(const Path& path);

}  // namespace volseal::tpm
