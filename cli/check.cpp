// volseal check: the coverage report in the form that is asked for; its exit status is the verdict.
#include "cli/evidence.h"
#include "cli/exit_status.h"
#include "cli/filter_options.h"
#include "cli/graph.h"
#include "cli/operator_view.h"
#include "cli/output.h"
#include "cli/report_of.h"
#include "cli/report_shelf.h"
#include "cli/verb.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/coverage/coverage.h"
#include "core/policy/policy.h"
#include "core/report/changes.h"
#include "core/report/pseudonyms.h"
#include "core/report/report.h"

#include <unistd.h>

#include <map>
#include <memory>
#include <ranges>

namespace volseal {
namespace {

const std::map<std::string, Format> formats = {
    {"table", Format::table}, {"json", Format::json},
    {"csv", Format::csv},     {"openmetrics", Format::openmetrics},
    {"junit", Format::junit}, {"icinga", Format::icinga},
    {"oscal", Format::oscal}, {"html", Format::html}};

struct CheckRequest {
  GraphSource source;
  Filter filter;
  std::string format_name = "table";
  Format format = Format::table;
  bool json = false;
  bool controls = false;
  Path controls_file;
  Path output;
  std::optional<Path> since;
  std::optional<Path> keep;
  std::size_t keep_most = 30;
  std::optional<Path> evidence;
  std::optional<std::string> nonce;
  std::optional<Path> pseudonym_key;
};

constexpr std::size_t largest_report = 256U << 20U;

std::string_view next_step(int status) {
  switch (status) {
    case exit_status::not_covered: return "'volseal plan' says what would be done about it.\n";
    case exit_status::undecided: return "'volseal scan' shows what was found on each device.\n";
    default: return "";
  }
}

TextOptions text_options(const CheckRequest& request) {
  // A file is for whoever reads it later, on whatever.
  if (!request.output.empty()) return {.columns = 100, .colour = false};
  return {.columns = columns(STDOUT_FILENO), .colour = may_colour(STDOUT_FILENO)};
}

std::string table(const Report& report, const CheckRequest& request) {
  const TextOptions options = text_options(request);
  if (request.controls) return controls_text(report, options);
  std::string text = to_text(report.coverage, options);
  if (report.comparison) text += "\n" + changes_text(*report.comparison, options);
  if (!report.root) text += "The devices were read without root's rights.\n";
  return text + std::string(next_step(report.coverage.exit_status()));
}

std::string rendered(const Report& report, const CheckRequest& request) {
  switch (request.format) {
    case Format::table: return table(report, request);
    case Format::json: return report_json(report);
    case Format::csv: return report_csv(report);
    case Format::openmetrics: return openmetrics(report);
    case Format::junit: return junit(report);
    case Format::icinga: return icinga(report);
    case Format::oscal: return oscal(report);
    case Format::html: return report_html(report);
  }
  return "";
}

// What root has left for who is not root, and may look at no device.
std::optional<Report> left_by_root(const CheckRequest& request, const Options& options) {
  if (!is_live(request.source) || !request.source.volumes.empty()) return std::nullopt;
  auto report = published_report(options);
  if (!report) return std::nullopt;
  if (request.pseudonym_key || request.keep || request.evidence)
    throw Error(Code::denied, "--pseudonymize, --keep and --evidence are for root");
  print_err("volseal: as root saw it on {}\n", on_one_line(report->coverage.taken_at));
  return request.filter.is_all() ? report : narrowed(*std::move(report), request.filter);
}

Report report_of(const CheckRequest& request, const Options& options) {
  if (auto report = left_by_root(request, options)) return *std::move(report);
  MadeReport made = machine_report(
      {.source = request.source, .filter = request.filter, .controls_file = request.controls_file},
      options);
  if (!request.pseudonym_key) return std::move(made.report);
  return pseudonymized(std::move(made.report), made.graph, made.policy,
                       read_secret(*request.pseudonym_key, true));
}

EarlierReport earlier_report(const Path& path) {
  return parse_earlier_report(read_file(path, largest_report), path.native());
}

// With the newest that can be read: a damaged one must not end the daily look at the machine.
void compare_with_newest(Report& report, const ReportShelf& shelf) {
  const std::vector<Path> kept = shelf.reports();
  for (const Path& path : std::views::reverse(kept)) {
    try {
      report.comparison = compare(earlier_report(path), report);
      return;
    } catch (const Error& error) {
      print_err("volseal: {}\n", on_one_line(error.what()));
    }
  }
}

int status_of(const Report& report, const CheckRequest& request) {
  if (request.format == Format::icinga) return icinga_status(report);
  if (report.comparison && report.comparison->worse()) return exit_status::worse;
  return report.coverage.exit_status();
}

int check(const CheckRequest& request, const Options& options) {
  const std::optional<Bytes> nonce = parse_nonce(request.nonce);
  Report report = report_of(request, options);
  if (request.since) report.comparison = compare(earlier_report(*request.since), report);
  if (request.keep) {
    const ReportShelf shelf(*request.keep);
    if (!report.comparison) compare_with_newest(report, shelf);
    shelf.add(report_json(report), report.made_at, request.keep_most);
  }
  if (request.evidence) write_file(*request.evidence, make_evidence(report, nonce, options));
  const std::string text = rendered(report, request);
  if (request.output.empty()) {
    print_out(text);
  } else {
    write_file(request.output, text);
  }
  return status_of(report, request);
}

// Monitoring wants its one line and a status of 0 to 3, whatever happened.
int check_for_icinga(const CheckRequest& request, const Options& options) {
  try {
    return check(request, options);
  } catch (const std::exception& error) {
    print_out(fmt::format("VOLSEAL UNKNOWN - {}\n", on_one_line(error.what())));
    return exit_status::undecided;
  }
}

}  // namespace

void add_check(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "check", "report whether every volume is encrypted; exit status 0, 1, 2 or 3");
  const auto request = std::make_shared<CheckRequest>();
  verb->add_option("VOLUME", request->source.volumes,
                   "devices or image files; all devices by default");
  add_graph_options(*verb, request->source);
  add_filter_options(*verb, request->filter);
  CLI::Option* format = verb->add_option("--format", request->format_name, "in which form")
                            ->check(CLI::IsMember(&formats))
                            ->type_name("FORM");
  verb->add_flag("--json", request->json, "as --format json")->excludes(format);
  verb->add_flag("--controls", request->controls,
                 "the measures that the report is evidence for, and against");
  verb->add_option("--controls-file", request->controls_file,
                   "another table of measures than /etc/volseal/controls.toml")
      ->type_name("FILE");
  verb->add_option("--output", request->output, "write it there, whole or not at all")
      ->type_name("FILE");
  verb->add_option("--since", request->since, "what changed since that report in JSON")
      ->type_name("FILE");
  CLI::Option* keep =
      verb->add_option("--keep", request->keep,
                       "keep the report there, and compare with the newest in there")
          ->type_name("DIR");
  verb->add_option("--keep-most", request->keep_most, "of those, how many")
      ->check(CLI::Range(1, 10000))
      ->needs(keep)
      ->type_name("N")
      ->capture_default_str();
  CLI::Option* evidence = verb->add_option("--evidence", request->evidence,
                                           "write the report there as evidence, signed by the TPM")
                              ->type_name("FILE");
  verb->add_option("--nonce", request->nonce, "for who asked for it: 16 to 64 bytes in hexadecimal")
      ->needs(evidence)
      ->type_name("HEX");
  verb->add_option("--pseudonymize", request->pseudonym_key,
                   "replace hosts, serials, UUIDs, names and people by pseudonyms of that key")
      ->type_name("KEYFILE");
  verb->footer(
      "Exit status: 0 covered, 1 covered with warnings, 2 not covered (yet), 3 could not decide;\n"
      "8 where something got worse than in the report that it was compared with.");
  verb->callback([&session, request] {
    request->format = request->json ? Format::json : formats.at(request->format_name);
    session.status = request->format == Format::icinga ? check_for_icinga(*request, session.options)
                                                       : check(*request, session.options);
  });
}

}  // namespace volseal
