// One page without scripts, for a browser, a phone and a printer. What devices say is text in it
// and nothing else, and the page's own policy forbids a browser to load or run anything.
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/report/markup.h"
#include "core/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace volseal {

namespace {

using report::markup;
using report::plain_markup;

constexpr std::array page_verdicts = {Verdict::not_covered, Verdict::converting,   Verdict::unknown,
                                      Verdict::suspended,   Verdict::covered_weak, Verdict::covered,
                                      Verdict::exempt};

std::string shape_svg(Verdict verdict) {
  const std::string name = report::shape(verdict);
  return fmt::format(R"(<svg class="shape {0}" aria-hidden="true"><use href="#v-{0}"/></svg>)",
                     name);
}

std::string verdict_words(const VolumeVerdict& volume) {
  std::string words(to_string(volume.verdict));
  if (volume.verdict == Verdict::converting) words += fmt::format(" {:.0f} %", volume.percent);
  return words;
}

// "2030-05-01 08:00 UTC", or what a stranger wrote in its place.
std::string moment(std::string_view time) {
  if (!report::is_time(time)) return plain_markup(time);
  return fmt::format("{} {} UTC", time.substr(0, 10), time.substr(11, 5));
}

struct PageSummary {
  Verdict tone;
  std::string_view words;
};

PageSummary page_summary(const Report& report) {
  switch (report.coverage.exit_status()) {
    case 0: return {.tone = Verdict::covered, .words = "Covered"};
    case 1: return {.tone = Verdict::covered_weak, .words = "Covered, with warnings"};
    case 2: return {.tone = Verdict::not_covered, .words = "Not covered"};
    default: return {.tone = Verdict::unknown, .words = "Undecided"};
  }
}

std::string page_head(const Report& report) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'sha256-{}'; base-uri 'none'; form-action 'none'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<meta name=\"referrer\" content=\"no-referrer\">\n"
      "<title>Encryption of {}{}</title>\n<style>{}</style>\n</head>\n<body>\n",
      report::digest_base64(report::page_style()), plain_markup(report.coverage.host),
      report.coverage.filter.is_all() ? "" : ", a part", report::page_style());
}

std::string page_header(const Report& report) {
  const PageSummary summary = page_summary(report);
  std::string out = fmt::format(
      "<header class=\"{}\">\n<h1>Encryption of data at rest on {}</h1>\n"
      "<p>{} <span class=\"word\">{}</span></p>\n<p class=\"dim\">{} volumes, looked at on "
      "{}</p>\n",
      report::shape(summary.tone), plain_markup(report.coverage.host), shape_svg(summary.tone),
      summary.words, report.coverage.volumes.size(), moment(report.coverage.taken_at));
  if (!report.coverage.filter.is_all())
    out += fmt::format("<p><strong>Only {}; the machine has more.</strong></p>\n",
                       markup(filter_words(report.coverage.filter)));
  if (!report.root) out += "<p>The devices were read without root's rights.</p>\n";
  return out + "</header>\n";
}

struct ByteKind {
  std::string_view words;
  std::string_view tone;
  std::uint64_t ByteCount::* count;
};

constexpr std::array byte_kinds = {
    ByteKind{.words = "in clear", .tone = "not-covered", .count = &ByteCount::plaintext},
    ByteKind{.words = "converting", .tone = "converting", .count = &ByteCount::converting},
    ByteKind{.words = "unknown", .tone = "unknown", .count = &ByteCount::unknown},
    ByteKind{.words = "encrypted", .tone = "covered", .count = &ByteCount::encrypted},
    ByteKind{.words = "unused", .tone = "exempt", .count = &ByteCount::unused}};

// How the bytes share the whole, worst first.
std::string bytes_bar(const ByteCount& bytes) {
  const auto whole = static_cast<double>(bytes.all());
  if (whole <= 0) return "";
  std::string out =
      R"(<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label="Bytes">)";
  double x = 0;
  for (const ByteKind& kind : byte_kinds) {
    const double width = static_cast<double>(bytes.*kind.count) / whole * 1000;
    if (width <= 0) continue;
    out += fmt::format(R"(<rect class="{}" x="{:.2f}" y="0" width="{:.2f}" height="10"/>)",
                       kind.tone, x, width);
    x += width;
  }
  return out + "</svg>\n";
}

std::string bytes_words(const ByteCount& bytes) {
  std::string out;
  for (const ByteKind& kind : byte_kinds) {
    if (bytes.*kind.count == 0) continue;
    out += fmt::format("{}<span class=\"word {}\">{} {}</span>", out.empty() ? "" : ", ", kind.tone,
                       human_size(bytes.*kind.count), kind.words);
  }
  return out;
}

// Of all disks, and of each tenant where there are any.
std::string bytes_section(const Report& report) {
  const Coverage& coverage = report.coverage;
  std::string out = fmt::format("{}<p class=\"small\">{}</p>\n", bytes_bar(coverage.bytes),
                                bytes_words(coverage.bytes));
  if (!coverage.shared_disks.empty())
    out += fmt::format("<p class=\"small\">On disks that others use, too: {}</p>\n",
                       markup(report::joined(coverage.shared_disks, ", ")));
  if (coverage.tenants.size() < 2) return out;
  for (const ByteShare& share : coverage.tenants) {
    const std::string owner = owner_words(share.name, share.environment);
    out += fmt::format("<h3>{}</h3>\n{}<p class=\"small\">{}</p>\n",
                       owner.empty() ? "No tenant" : markup(owner), bytes_bar(share.bytes),
                       bytes_words(share.bytes));
  }
  return out;
}

std::string tiles(const Report& report) {
  std::string out = "<ul class=\"tiles\">\n";
  for (const Verdict verdict : page_verdicts) {
    std::uint64_t size = 0;
    std::size_t count = 0;
    for (const VolumeVerdict& volume : report.coverage.volumes) {
      if (volume.verdict != verdict) continue;
      size += volume.size;
      ++count;
    }
    if (count == 0) continue;
    out += fmt::format(
        "<li>{}<span><b>{}</b><span class=\"word {}\">{}</span><br><span class=\"dim "
        "small\">{}</span></span></li>\n",
        shape_svg(verdict), count, report::shape(verdict), to_string(verdict), human_size(size));
  }
  return out + "</ul>\n" + bytes_section(report);
}

std::string list_of(const std::vector<std::string>& items) {
  if (items.empty()) return "";
  std::string out = "<ul>";
  for (const std::string& item : items)
    out += fmt::format("<li>{}</li>", markup(on_one_line(item)));
  return out + "</ul>";
}

std::string protection(const VolumeVerdict& volume) {
  if (volume.cipher.empty()) return "";
  std::string out = fmt::format("<code>{}</code>", plain_markup(volume.cipher));
  if (volume.key_bits != 0) out += fmt::format("<br>{} bits", volume.key_bits);
  if (!volume.integrity.empty())
    out += fmt::format("<br>integrity: {}", plain_markup(volume.integrity));
  if (volume.sector_size != 0) out += fmt::format(", sectors of {}", volume.sector_size);
  return out;
}

std::string day_of(const std::string& time) {
  return time.substr(0, sizeof("YYYY-MM-DD") - 1);
}

std::string opened_by(const VolumeVerdict& volume) {
  std::string out = markup(report::joined(volume.protectors, ", "));
  for (const EscrowRecord& escrow : volume.escrows) {
    out += fmt::format("<br><span class=\"small dim\">in escrow since {}</span>",
                       plain_markup(day_of(escrow.acknowledged)));
  }
  if (!volume.header_backup.empty())
    out += fmt::format("<br><span class=\"small dim\">header backup of {}</span>",
                       plain_markup(day_of(volume.header_backup)));
  if (!volume.recovery_proven.empty())
    out += fmt::format("<br><span class=\"small dim\">recovery tried on {}</span>",
                       plain_markup(day_of(volume.recovery_proven)));
  return out;
}

std::string belongs_to(const VolumeVerdict& volume) {
  std::string out = plain_markup(volume.tenant);
  if (!volume.environment.empty())
    out += fmt::format("{}{}", out.empty() ? "" : "<br>", plain_markup(volume.environment));
  return out;
}

// "for 12 measures, against 3", and which, when somebody wants to know.
std::string measures_of(const Report& report, std::size_t at) {
  std::vector<std::string> good;
  std::vector<std::string> bad;
  for (const ControlResult& result : report.controls) {
    if (std::ranges::binary_search(result.supporting, at)) good.push_back(result.control.reference);
    if (std::ranges::binary_search(result.contradicting, at))
      bad.push_back(result.control.reference);
  }
  if (good.empty() && bad.empty()) return "";
  std::string out =
      fmt::format("<details class=\"small\"><summary>measures: {} for, {} against</summary>",
                  good.size(), bad.size());
  if (!good.empty()) out += fmt::format("<p>for: {}</p>", markup(report::joined(good, ", ")));
  if (!bad.empty()) out += fmt::format("<p>against: {}</p>", markup(report::joined(bad, ", ")));
  return out + "</details>";
}

std::string volume_row(const Report& report, std::size_t at) {
  const VolumeVerdict& volume = report.coverage.volumes[at];
  std::string what =
      fmt::format("{}, {}", human_size(volume.size), markup(on_one_line(volume.content)));
  for (const std::string& mount : volume.mounts)
    what += fmt::format("<br>at <code>{}</code>", plain_markup(mount));
  return fmt::format(
      "<tr><td class=\"verdict\">{} <span class=\"word {}\">{}</span></td>"
      "<td><span class=\"path\">{}</span><br><span class=\"small dim\">{}</span></td>"
      "<td data-label=\"{}\">{}{}</td><td data-label=\"cipher\">{}</td>"
      "<td data-label=\"opened by\">{}</td><td data-label=\"tenant\">{}</td></tr>\n",
      shape_svg(volume.verdict), report::shape(volume.verdict), verdict_words(volume),
      plain_markup(volume.path), what, volume.reasons.empty() ? "evidence" : "why",
      list_of(volume.reasons), measures_of(report, at), protection(volume), opened_by(volume),
      belongs_to(volume));
}

std::string volumes_table(const Report& report) {
  std::string out =
      "<h2>Volumes</h2>\n<table class=\"volumes\">\n<thead><tr><th class=\"c1\">Verdict</th>"
      "<th class=\"c2\">Volume</th><th>Why</th><th class=\"c4\">Cipher</th><th class=\"c5\">Opened "
      "by</th>"
      "<th class=\"c6\">Tenant</th></tr></thead>\n<tbody>\n";
  for (const Verdict verdict : page_verdicts) {
    for (std::size_t at = 0; at < report.coverage.volumes.size(); ++at)
      if (report.coverage.volumes[at].verdict == verdict) out += volume_row(report, at);
  }
  return out + "</tbody>\n</table>\n";
}

std::string changes_section(const Report& report) {
  if (!report.comparison) return "";
  std::string out = fmt::format("<h2>Changes since {}</h2>\n", moment(report.comparison->since));
  if (report.comparison->changes.empty()) return out + "<p>None.</p>\n";
  out += "<ul>\n";
  for (const Change& change : report.comparison->changes) {
    out += fmt::format(
        "<li><span class=\"word {0}\">{0}</span>: <span class=\"path\">{1}</span> {2}</li>\n",
        to_string(change.course), plain_markup(change.path), markup(on_one_line(change.what)));
  }
  return out + "</ul>\n";
}

std::string legend() {
  std::string out = "<ul class=\"legend small\">\n";
  for (const Verdict verdict : page_verdicts)
    out += fmt::format("<li>{} {}</li>\n", shape_svg(verdict), to_string(verdict));
  return out + "</ul>\n";
}

std::string measure_row(const ControlResult& result) {
  const bool in_part = result.support == Support::supported && !result.control.sufficient;
  const std::string words = in_part ? "in part" : std::string(to_string(result.support));
  const std::string tone = in_part ? "in-part" : std::string(to_string(result.support));
  std::string title = markup(result.control.title);
  if (!result.control.note.empty())
    title += fmt::format("<br><span class=\"small dim\">{}</span>", markup(result.control.note));
  return fmt::format(
      "<tr><td><span class=\"word {}\">{}</span></td><td>{}</td><td>{}</td>"
      "<td class=\"number\" data-label=\"volumes for it\">{}</td>"
      "<td class=\"number\" data-label=\"volumes against it\">{}</td></tr>\n",
      tone, words, markup(result.control.reference), title, result.supporting.size(),
      result.contradicting.size());
}

std::string measures(const Report& report) {
  std::string out = "<h2>Measures</h2>\n";
  std::string catalogue;
  for (const ControlResult& result : report.controls) {
    if (result.control.catalogue != catalogue) {
      if (!catalogue.empty()) out += "</tbody>\n</table>\n";
      catalogue = result.control.catalogue;
      out += fmt::format(
          "<h3>{}</h3>\n<table class=\"measures\">\n<thead><tr><th class=\"c1\">Evidence</th>"
          "<th class=\"c2\">Measure</th><th>Title</th><th class=\"c4\">For</th>"
          "<th class=\"c5\">Against</th></tr></thead>\n<tbody>\n",
          markup(catalogue));
    }
    out += measure_row(result);
  }
  if (!catalogue.empty()) out += "</tbody>\n</table>\n";
  return out +
         "<p class=\"small dim\">Facts of one day, judged by the policy named below. Whether a "
         "measure is fulfilled is for who assesses it.</p>\n";
}

std::string page_footer(const Report& report) {
  const auto line = [](std::string_view name, const std::string& value) {
    return value.empty() ? "" : fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, plain_markup(value));
  };
  return "<footer class=\"small\">\n<dl>\n" + line("policy", report.coverage.policy) +
         line("its SHA-256", report.policy_digest) + line("kernel", report.kernel) +
         line("boot", report.boot_id) + line("made by", "volseal " + report.version) +
         line("made at", report.made_at) + "</dl>\n</footer>\n</body>\n</html>\n";
}

}  // namespace

std::string report_html(const Report& report) {
  return page_head(report) + report::shapes() + page_header(report) + tiles(report) +
         changes_section(report) + volumes_table(report) + "<h2>Devices</h2>\n" + legend() +
         "<div class=\"scroll\">\n" + report::picture(report) + "</div>\n" + measures(report) +
         page_footer(report);
}

}  // namespace volseal
