// A report for outsiders: what names this machine, its disks and people is replaced by keyed
// pseudonyms, the same word by the same pseudonym wherever the same key is used.
#pragma once

#include "core/base/secret.h"
#include "core/report/report.h"

namespace volseal {

// Replaced: host, boot id, serials, WWNs, UUIDs, labels, names of mappings, volume groups, logical
// volumes and arrays, folders of mount points and files that are not usual ones, tenants, groups,
// environments, certificates, and the policy's own words (rules, reasons). Kept: kernel names,
// models, sizes, ciphers, times, the digest of the policy. Whoever has the key can try words;
// nobody else can. Throws Error{usage} for a key of less than 16 bytes.
Report pseudonymized(Report report, const DeviceGraph& graph, const Policy& policy,
                     const Secret& key);

}  // namespace volseal
