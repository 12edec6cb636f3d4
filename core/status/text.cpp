#include "core/base/clock.h"
#include "core/base/escape.h"
#include "core/status/status.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t screen_lines = 24;
constexpr std::size_t least_columns = 40;
constexpr std::size_t most_groups = 4;
constexpr std::size_t most_drills = 2;
constexpr std::size_t label_width = 11;

// At most so many columns; escaped UTF-8, cut between code points.
std::string fitted(std::string_view text, std::size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  std::size_t taken = 0;
  std::size_t at = 0;
  while (at < text.size() && taken + 3 < columns) {
    do ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U);
    ++taken;
  }
  return std::string(text.substr(0, at)) + "...";
}

class Screen {
 public:
  explicit Screen(const TextOptions& options)
      : columns_(std::max(options.columns, least_columns)), colour_(options.colour) {}

  void line(std::string_view text, std::string_view colour = "") {
    const std::string fit = fitted(text, columns_);
    lines_.push_back(colour_ && !colour.empty() ? fmt::format("\x1b[{}m{}\x1b[0m", colour, fit)
                                                : fit);
  }

  void labelled(std::string_view label, const std::string& text) {
    line(fmt::format("{:{}}{}", label, label_width, text));
  }

  std::size_t columns() const { return columns_; }
  std::size_t size() const { return lines_.size(); }
  std::string text() const { return fmt::format("{}\n", fmt::join(lines_, "\n")); }
  void append(const Screen& other) {
    lines_.insert(lines_.end(), other.lines_.begin(), other.lines_.end());
  }

 private:
  std::size_t columns_;
  bool colour_;
  std::vector<std::string> lines_;
};

std::string_view words_for(GroupTpm tpm) {
  switch (tpm) {
    case GroupTpm::none: return "no secret yet";
    case GroupTpm::approved: return "this boot approved";
    case GroupTpm::not_approved: return "THIS BOOT NOT APPROVED";
    case GroupTpm::revoked: return "EVERY APPROVAL REVOKED";
    case GroupTpm::pending: return "A REVOCATION IS NOT FINISHED";
    case GroupTpm::counter_gone: return "COUNTER GONE";
    case GroupTpm::another_tpm: return "SEALED BY ANOTHER TPM";
    case GroupTpm::no_key: return "POLICY KEY MISSING";
    case GroupTpm::locked_out: return "TPM LOCKED OUT";
    case GroupTpm::not_asked: return "the TPM was not asked";
    case GroupTpm::unreachable: return "THE TPM CANNOT BE ASKED";
  }
  return "";
}

void add_groups(Screen& screen, const Status& status) {
  std::size_t shown = 0;
  for (const StatusGroup& group : status.groups) {
    if (shown == most_groups) break;
    const std::string state = group.locked.empty() ? std::string(words_for(group.tpm)) : "LOCKED";
    const std::string counter =
        group.counter ? fmt::format(", counter {}", *group.counter) : std::string();
    screen.labelled(shown == 0 ? "groups" : "",
                    fmt::format("{}: {}{}, {} volume{}",
                                group_words({.name = group.name,
                                             .tenant = group.tenant,
                                             .environment = group.environment}),
                                state, counter, group.volumes, group.volumes == 1 ? "" : "s"));
    ++shown;
  }
  if (status.groups.size() > shown)
    screen.labelled("", fmt::format("and {} more", status.groups.size() - shown));
}

void add_volumes(Screen& screen, const Coverage& coverage) {
  static constexpr std::array worst_first = {
      Verdict::not_covered,  Verdict::converting, Verdict::unknown, Verdict::suspended,
      Verdict::covered_weak, Verdict::covered,    Verdict::exempt};
  std::vector<std::string> counts;
  std::map<std::string, std::size_t> ways;
  std::size_t open = 0;
  std::size_t locked = 0;
  for (const Verdict verdict : worst_first) {
    const auto count = std::ranges::count(coverage.volumes, verdict, &VolumeVerdict::verdict);
    if (count > 0) counts.push_back(fmt::format("{} {}", count, to_string(verdict)));
  }
  for (const VolumeVerdict& volume : coverage.volumes) {
    for (const std::string& protector : volume.protectors) ++ways[escaped(protector, 40)];
    if (volume.opened == "locked") ++locked;
    if (!volume.opened.empty() && volume.opened != "locked") ++open;
  }
  screen.labelled("volumes", counts.empty() ? "none" : fmt::format("{}", fmt::join(counts, ", ")));
  std::vector<std::string> words;
  words.reserve(ways.size());
  for (const auto& [kind, count] : ways) words.push_back(fmt::format("{} {}", kind, count));
  screen.labelled("ways in",
                  fmt::format("{}; {} open, {} locked",
                              words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", ")),
                              open, locked));
}

void add_boot(Screen& screen, const Status& status) {
  if (!status.boot) {
    screen.labelled("this boot", "volseal-unlock did not run in the initramfs");
  } else {
    screen.labelled("this boot",
                    fmt::format("{} in {} ms; latch {}",
                                status.boot->how.empty() ? "nothing was opened in the initramfs"
                                                         : "unlocked by " + status.boot->how,
                                status.boot->took.count(), escaped(status.boot->latch)));
  }
  if (const auto& last = status.last_unlock) {
    screen.labelled(
        "last open",
        fmt::format("{} by {} in {} ms, {}", escaped(last->volume), escaped(last->protector),
                    escaped(last->milliseconds, 20), escaped(last->time, 40)));
  }
}

// Those that were tried longest ago come first.
void add_drills(Screen& screen, const Status& status, std::string_view now) {
  std::vector<Drill> drills = status.drills;
  std::ranges::sort(drills, {}, &Drill::tried);
  std::size_t shown = 0;
  for (const Drill& drill : drills) {
    if (shown == most_drills) break;
    screen.labelled(shown == 0 ? "drills" : "",
                    fmt::format("keyslot {} ({}): {} {} days ago, by {}, on {}", drill.keyslot,
                                escaped(drill.kind),
                                drill.opened == drill.tried ? "opened" : escaped(drill.outcome),
                                days_between(drill.tried, now).value_or(0), escaped(drill.person),
                                escaped(drill.volume)));
    ++shown;
  }
  if (drills.size() > shown) screen.labelled("", fmt::format("and {} more", drills.size() - shown));
}

void add_rest(Screen& screen, const Status& status) {
  if (status.watched) {
    screen.labelled(
        "watch", fmt::format("{}; {} in quarantine, {} finding{} in a day",
                             *status.watched ? "runs" : "DOES NOT RUN", status.quarantined.size(),
                             status.findings, status.findings == 1 ? "" : "s"));
  }
  if (status.log) {
    screen.labelled("audit log",
                    !status.log->there
                        ? "there is none yet"
                        : fmt::format("{} lines, {} of them signed{}{}", status.log->lines,
                                      status.log->signed_lines,
                                      status.log->signed_at.empty() ? "" : ", last on ",
                                      escaped(status.log->signed_at, 40)));
  }
  if (const auto& next = status.next_boot) {
    screen.labelled("next boot", fmt::format("{}, verified on {}",
                                             next->outdated ? "NOT VERIFIED since it changed"
                                             : next->good   ? "opens every volume"
                                                            : "DOES NOT open every volume",
                                             escaped(next->verified_at, 40)));
  }
}

// In what the rest leaves of the screen.
void add_attention(Screen& screen, const std::vector<Attention>& all, std::size_t room) {
  std::size_t told = 0;
  for (const Attention& one : all) {
    const std::string whole = fmt::format("! {}: {}", one.what, one.command);
    const bool fits = columns_of(whole) <= screen.columns();
    const std::size_t lines = fits ? 1 : 2;
    const std::size_t for_the_rest = told + 1 < all.size() ? 1 : 0;
    if (lines + for_the_rest > room) break;
    if (fits) {
      screen.line(whole, "31");
    } else {
      screen.line("! " + one.what, "31");
      screen.line("    " + one.command);
    }
    room -= lines;
    ++told;
  }
  if (told < all.size())
    screen.line(fmt::format("  and {} more: volseal status --json", all.size() - told), "31");
}

}  // namespace

std::string to_text(const Status& status, std::string_view now, const TextOptions& options) {
  Screen rest(options);
  add_groups(rest, status);
  add_volumes(rest, status.coverage);
  add_boot(rest, status);
  add_drills(rest, status, now);
  add_rest(rest, status);

  const std::vector<Attention> all = attention_of(status, now);
  Screen screen(options);
  std::string headline =
      all.empty() ? fmt::format("{}: nothing needs attention", escaped(status.coverage.host))
                  : fmt::format("{}: {} thing{} to attend to", escaped(status.coverage.host),
                                all.size(), all.size() == 1 ? "" : "s");
  if (!status.coverage.filter.is_all())
    headline += fmt::format("; only {}", filter_words(status.coverage.filter));
  screen.line(headline, all.empty() ? "1;32" : "1;31");
  add_attention(screen, all, screen_lines - 1 - rest.size());
  screen.append(rest);
  return screen.text();
}

}  // namespace volseal
