// volseal audit show and export.
#pragma once

#include "cli/audit_select.h"
#include "cli/verb.h"

#include <cstddef>

namespace volseal {

struct AuditShow {
  AuditSelection selection;
  std::size_t last = 200;  // only so many, the newest; 0: all
  bool json = false;
};

enum class AuditFormat { jsonl, csv };

void show_audit(const AuditShow& show, const Options& options);
void export_audit(const AuditSelection& selection, AuditFormat format, const Options& options);

}  // namespace volseal
