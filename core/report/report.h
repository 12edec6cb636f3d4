// One report, many forms: what people, monitoring, build servers and auditors read.
//
// Everything is made from one Report, a plain value. What devices say of themselves is in it as it
// was said; each form escapes it in its own way.
#pragma once

#include "core/coverage/coverage.h"
#include "core/device/device.h"
#include "core/report/controls.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// A device as it is drawn and listed.
struct ReportDevice {
  std::string path;
  std::string name;
  std::string kind;
  std::string content;  // "ext4", "luks2", "blank" ...
  std::string label;
  std::string uuid;
  std::string model;
  std::string serial;
  std::uint64_t size = 0;  // bytes
  std::vector<std::string> mounts;
  std::vector<std::size_t> below;     // of Report::devices
  std::optional<std::size_t> volume;  // of Coverage::volumes, where it is one
};

enum class Course { better, worse, other };

struct Change {
  Course course = Course::other;
  std::string id;  // as in Report::ids, or in the earlier report
  std::string path;
  std::string what;  // "was covered, is not-covered"; escaped
};

struct Comparison {
  std::string since;  // when the earlier report's devices were looked at
  std::vector<Change> changes;

  bool worse() const;
};

struct Report {
  Coverage coverage;
  // What each volume is called from one report to the next: by the place it has (partition UUID,
  // WWN, logical volume), so that it is the same volume before and after it was encrypted.
  std::vector<std::string> ids;
  std::string version;  // of volseal
  std::string made_at;  // RFC 3339, UTC
  std::string kernel;
  std::string boot_id;
  std::string policy_digest;  // SHA-256, hexadecimal
  bool root = true;           // the devices were read with root's rights
  std::vector<ReportDevice> devices;
  std::vector<ControlResult> controls;
  std::optional<Comparison> comparison;  // with an earlier report, where one was named
};

struct ReportContext {
  std::string version;
  std::string made_at;
  Filter filter = {};
};
Report make_report(const DeviceGraph& graph, const Policy& policy, Coverage coverage,
                   const Controls& controls, const ReportContext& context);

// Only the volumes that `filter` wants, with the devices that these stand on or are opened as. A
// disk that other volumes lie on as well is named, and its bytes are not: they are others'.
Report narrowed(Report report, const Filter& filter);

std::string_view to_string(Course course);

enum class Format { table, json, csv, openmetrics, junit, icinga, oscal, html };

// Every form but the table, which wants a terminal's width: see to_text() of core/coverage.
std::string report_json(const Report& report);  // schema "volseal-coverage/1", ASCII
std::string report_csv(const Report& report);   // RFC 4180; no cell is a formula
std::string openmetrics(const Report& report);  // also what node_exporter's textfile reads
std::string junit(const Report& report);        // a test case a volume
std::string icinga(const Report& report);       // one line with performance data
std::string oscal(const Report& report);        // assessment results, OSCAL 1.1.2
std::string report_html(const Report& report);  // one page that needs nothing else
// The plugin's status for it, 0 to 3: critical where something got worse.
int icinga_status(const Report& report);
// The controls, what speaks for each and what against it.
std::string controls_text(const Report& report, const TextOptions& options);

}  // namespace volseal
