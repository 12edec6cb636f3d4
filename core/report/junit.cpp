// JUnit's XML as Jenkins, GitLab and others read it: a test case a volume.
#include "core/base/escape.h"
#include "core/report/markup.h"
#include "core/report/report.h"

#include <fmt/format.h>

#include <algorithm>

namespace volseal {

namespace {

std::string junit_case(const VolumeVerdict& volume, const std::string& id) {
  using report::markup;
  const std::string reasons = markup(report::joined_reasons(volume.reasons, "; "));
  const std::string message = fmt::format("message=\"{}{}{}\"", to_string(volume.verdict),
                                          reasons.empty() ? "" : ": ", reasons);
  const std::string owner = owner_words(volume.tenant, volume.environment);
  std::string inside;
  switch (volume.verdict) {
    case Verdict::covered: break;
    case Verdict::exempt: inside = fmt::format("<skipped {}/>", message); break;
    // A build is not to break for it; exit status and message tell.
    case Verdict::covered_weak:
    case Verdict::suspended:
      inside = fmt::format("<system-out>{}: {}</system-out>", to_string(volume.verdict), reasons);
      break;
    case Verdict::unknown: inside = fmt::format("<error type=\"unknown\" {}/>", message); break;
    case Verdict::converting:
    case Verdict::not_covered:
      inside = fmt::format("<failure type=\"{}\" {}/>", to_string(volume.verdict), message);
      break;
  }
  return fmt::format("    <testcase classname=\"{}\" name=\"{}{}\" time=\"0\">{}</testcase>\n",
                     report::plain_markup(id), report::plain_markup(volume.path),
                     owner.empty() ? "" : fmt::format(" ({})", markup(owner)), inside);
}

}  // namespace

std::string junit(const Report& report) {
  const std::vector<VolumeVerdict>& volumes = report.coverage.volumes;
  const auto count = [&](std::initializer_list<Verdict> wanted) {
    return std::ranges::count_if(volumes, [&](const VolumeVerdict& volume) {
      return std::ranges::find(wanted, volume.verdict) != wanted.end();
    });
  };
  const std::string& time =
      report::is_time(report.coverage.taken_at) ? report.coverage.taken_at : report.made_at;
  const std::string numbers =
      fmt::format(R"(tests="{}" failures="{}" errors="{}")", volumes.size(),
                  count({Verdict::not_covered, Verdict::converting}), count({Verdict::unknown}));
  const std::string only =
      report.coverage.filter.is_all()
          ? ""
          : report::markup(fmt::format(", only {}", filter_words(report.coverage.filter)));
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  out += fmt::format("<testsuites name=\"volseal\" {} time=\"0\">\n", numbers);
  out += fmt::format(
      "  <testsuite name=\"volseal check{}\" {} skipped=\"{}\" time=\"0\" timestamp=\"{}\" "
      "hostname=\"{}\">\n",
      only, numbers, count({Verdict::exempt}), time.substr(0, sizeof("YYYY-MM-DDThh:mm:ss") - 1),
      report::plain_markup(report.coverage.host));
  for (std::size_t at = 0; at < volumes.size(); ++at)
    out += junit_case(volumes[at], report.ids[at]);
  return out + "  </testsuite>\n</testsuites>\n";
}

}  // namespace volseal
