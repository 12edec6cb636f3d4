// What members of a Unix group may know of its volumes: a folder for each, written by root.
//
// STATE-operators/UNIX_GROUP/ (0750 root:UNIX_GROUP, in a folder that nobody can list) has
// report.json, a report of its groups alone, and audit.jsonl, the newest events about them.
#pragma once

#include "cli/verb.h"
#include "core/audit/audit.h"
#include "core/policy/policy.h"
#include "core/report/report.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

Path operators_folder(const Options& options);
// The socket at which they ask; volseal-operators@.socket makes it.
Path operators_socket(const std::string& unix_group);

// Throws Error{unsafe} where the policy names operators and anybody may read it: it names everybody
// else's groups, too.
void require_private(const Policy& policy, const Path& file);

// What keeps operators from seeing or opening their volumes, one sentence each; escaped.
std::vector<std::string> operator_problems(const Policy& policy, const Path& file);

// As root: writes each Unix group's folder, and empties those of groups that the policy no longer
// names. `whole`: of all volumes. A group that this machine does not know is told and passed over;
// false then.
bool publish(const Options& options, const Policy& policy, const Report& whole);

// As anybody else: of the groups that this process is in, all together. Nothing where there is no
// such report, or this is root.
std::optional<Report> published_report(const Options& options);
// The same for events; false where there are none to see.
bool for_each_published_event(
    const Options& options, const std::function<void(const AuditRecord&, std::string_view)>& visit);

}  // namespace volseal
