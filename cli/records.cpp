#include "cli/records.h"

#include "cli/drills.h"
#include "cli/world.h"
#include "core/audit/reader.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/luks/backup.h"
#include "core/unlock/boot_report.h"

#include <set>

namespace volseal {

namespace {

std::set<std::string> volume_uuids(const DeviceGraph& graph) {
  std::set<std::string> uuids;
  for (const Device& device : graph.devices) {
    if (device.luks && !device.luks->uuid.empty()) uuids.insert(device.luks->uuid);
  }
  return uuids;
}

void read_header_backups(const Path& folder, const std::set<std::string>& uuids, Records& records) {
  for (const std::string& uuid : uuids) {
    try {
      const auto text = read_file_if_any(record_place(backup_place(folder, uuid)));
      if (text) records.header_backups[uuid] = parse_backup_record(*text).made_at;
    } catch (const Error& error) {
      log::detail("the header backup of {} does not count: {}", uuid, error.what());
    }
  }
}

bool needs_no_tpm(const std::string& protector) {
  return protector == "recovery-key" || protector == "fido2" || protector == "passphrase";
}

void read_attempts(const Path& audit_log, const std::string& boot_id, Records& records) {
  try {
    // Few lines of a long log are about an opening: only they are parsed.
    for_each_event(audit_log, R"("outcome":"opened")", [&](const AuditRecord& record, auto) {
      const Event& event = record.event;
      // A test says the kind, an opening the protector.
      auto protector = event.detail.find("protector");
      if (protector == event.detail.end()) protector = event.detail.find("kind");
      if (event.outcome != "opened" || event.luks_uuid.empty() || protector == event.detail.end())
        return;
      if (needs_no_tpm(protector->second)) records.recovery_proven[event.luks_uuid] = record.time;
      if (event.action == "unlock" && record.boot_id == boot_id)
        records.opened_by[event.luks_uuid] = protector->second;
    });
  } catch (const Error& error) {
    if (error.code() == Code::not_found) return;
    log::warning("the audit log does not count for the report: {}", error.what());
  }
}

// Its events may not be in the audit log yet.
void read_boot(Records& records) {
  try {
    const auto report = read_boot_report();
    if (!report) return;
    for (const Attempt& attempt : report->attempts) {
      if (attempt.outcome == Outcome::opened && !attempt.luks_uuid.empty())
        records.opened_by[attempt.luks_uuid] = attempt.protector;
    }
  } catch (const Error& error) {
    log::warning("what the initramfs did does not count for the report: {}", error.what());
  }
}

}  // namespace

Records read_records(const DeviceGraph& graph, const Policy& policy, const Options& options) {
  Records records;
  read_header_backups(policy.header_backups, volume_uuids(graph), records);
  read_boot(records);
  read_attempts(audit_log_of(options).log, graph.boot_id, records);
  records.drills = load_drills(options.state);
  return records;
}

}  // namespace volseal
