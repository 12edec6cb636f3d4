// OpenMetrics 1.0, gauges only: node_exporter's textfile collector reads these as Prometheus' text
// format, which knows neither info nor state sets.
#include "core/report/markup.h"
#include "core/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace volseal {

namespace {

constexpr std::array metric_verdicts = {
    Verdict::covered,    Verdict::exempt,  Verdict::covered_weak, Verdict::suspended,
    Verdict::converting, Verdict::unknown, Verdict::not_covered};

// ABNF of OpenMetrics: backslash, quote and newline are escaped; the rest is UTF-8 as it is.
std::string label(std::string_view value) {
  std::string out;
  for (const char c : report::plain(value)) {
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

class MetricFamily {
 public:
  MetricFamily(std::string& out, std::string_view name, std::string_view unit,
               std::string_view help)
      : out_(out), name_(name) {
    out_ += fmt::format("# TYPE {} gauge\n", name);
    if (!unit.empty()) out_ += fmt::format("# UNIT {} {}\n", name, unit);
    out_ += fmt::format("# HELP {} {}\n", name, help);
  }

  // A series that is there twice would make the whole file invalid.
  void sample(const std::string& labels, const std::string& value) {
    if (seen_.insert(labels).second)
      out_ += fmt::format("{}{}{}{} {}\n", name_, labels.empty() ? "" : "{", labels,
                          labels.empty() ? "" : "}", value);
  }

 private:
  std::string& out_;
  std::string_view name_;
  std::set<std::string> seen_;
};

void sample_bytes(MetricFamily& family, const std::string& labels, const ByteCount& bytes) {
  const std::string before = labels.empty() ? "" : labels + ",";
  const auto one = [&](std::string_view state, std::uint64_t count) {
    family.sample(fmt::format("{}state=\"{}\"", before, state), std::to_string(count));
  };
  one("encrypted", bytes.encrypted);
  one("converting", bytes.converting);
  one("plaintext", bytes.plaintext);
  one("unknown", bytes.unknown);
  one("unused", bytes.unused);
}

std::string volume_labels(const Report& report, std::size_t at) {
  const VolumeVerdict& volume = report.coverage.volumes[at];
  return fmt::format(R"(volume="{}",id="{}",tenant="{}",environment="{}")", label(volume.path),
                     label(report.ids[at]), label(volume.tenant), label(volume.environment));
}

}  // namespace

std::string openmetrics(const Report& report) {
  const std::vector<VolumeVerdict>& volumes = report.coverage.volumes;
  std::string out;
  MetricFamily(out, "volseal_report_exit_status", "",
               "Exit status of volseal check: 0 covered, 1 warnings, 2 not covered, 3 undecided.")
      .sample("", std::to_string(report.coverage.exit_status()));
  MetricFamily(out, "volseal_report_taken_seconds", "seconds",
               "When the devices were looked at, since 1970.")
      .sample("", fmt::format("{:.0f}", report::seconds_of(report.coverage.taken_at)));
  MetricFamily(out, "volseal_build", "", "Which volseal made the report.")
      .sample(fmt::format("version=\"{}\"", label(report.version)), "1");

  if (!report.coverage.filter.is_all()) {
    MetricFamily(out, "volseal_report_part", "", "1: only the volumes that it says are in here.")
        .sample(fmt::format("only=\"{}\"", label(filter_words(report.coverage.filter))), "1");
  }

  MetricFamily counts(out, "volseal_volumes", "", "Volumes by verdict.");
  for (const Verdict verdict : metric_verdicts) {
    counts.sample(fmt::format("verdict=\"{}\"", to_string(verdict)),
                  std::to_string(std::ranges::count(volumes, verdict, &VolumeVerdict::verdict)));
  }
  MetricFamily verdicts(out, "volseal_volume_verdict", "", "1 for the verdict that a volume has.");
  for (std::size_t at = 0; at < volumes.size(); ++at) {
    verdicts.sample(
        fmt::format("{},verdict=\"{}\"", volume_labels(report, at), to_string(volumes[at].verdict)),
        "1");
  }
  MetricFamily sizes(out, "volseal_volume_size_bytes", "bytes", "Size of a volume.");
  for (std::size_t at = 0; at < volumes.size(); ++at)
    sizes.sample(volume_labels(report, at), std::to_string(volumes[at].size));
  MetricFamily all_bytes(out, "volseal_bytes", "bytes",
                         "Bytes of all disks, by what lies on them.");
  sample_bytes(all_bytes, "", report.coverage.bytes);
  MetricFamily disk_bytes(out, "volseal_disk_bytes", "bytes", "Bytes of a disk.");
  for (const ByteShare& share : report.coverage.disks)
    sample_bytes(disk_bytes, fmt::format("disk=\"{}\"", label(share.name)), share.bytes);
  MetricFamily tenant_bytes(out, "volseal_tenant_bytes", "bytes", "Bytes of a tenant's volumes.");
  for (const ByteShare& share : report.coverage.tenants)
    sample_bytes(
        tenant_bytes,
        fmt::format(R"(tenant="{}",environment="{}")", label(share.name), label(share.environment)),
        share.bytes);
  MetricFamily backups(out, "volseal_volume_header_backup_seconds", "seconds",
                       "When the backup of a volume's header was made, since 1970.");
  for (std::size_t at = 0; at < volumes.size(); ++at) {
    if (report::is_time(volumes[at].header_backup))
      backups.sample(volume_labels(report, at),
                     fmt::format("{:.0f}", report::seconds_of(volumes[at].header_backup)));
  }
  MetricFamily parts(out, "volseal_volume_encrypted_ratio", "ratio",
                     "How much of a volume that is being converted is encrypted.");
  for (std::size_t at = 0; at < volumes.size(); ++at) {
    if (volumes[at].verdict == Verdict::converting)
      parts.sample(volume_labels(report, at), fmt::format("{:.4f}", volumes[at].percent / 100));
  }
  MetricFamily controls(out, "volseal_control_contradicting_volumes", "",
                        "Volumes that speak against a control.");
  for (const ControlResult& result : report.controls) {
    controls.sample(fmt::format("control=\"{}\"", result.control.id),
                    std::to_string(result.contradicting.size()));
  }
  return out + "# EOF\n";
}

}  // namespace volseal
