#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/table.h"
#include "core/coverage/coverage.h"
#include "core/coverage/drill_ages.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace volseal {

namespace {

std::string_view colour_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::covered: return "32";
    case Verdict::exempt: return "2";
    case Verdict::covered_weak:
    case Verdict::suspended:
    case Verdict::converting: return "33";
    case Verdict::unknown: return "1;33";
    case Verdict::not_covered: return "1;31";
  }
  return "";
}

std::string joined(const std::vector<std::string>& list, std::string_view none) {
  if (list.empty()) return std::string(none);
  std::vector<std::string> safe;
  std::ranges::transform(list, std::back_inserter(safe),
                         [](const std::string& text) { return escaped(text); });
  return fmt::format("{}", fmt::join(safe, ", "));
}

// "/dev/sda2: recovery key (keyslot 0) in escrow since 2026-05-01 with 1 of 2: 1a2b..., 3c4d..."
std::string escrow_line(const VolumeVerdict& volume, const EscrowRecord& escrow) {
  constexpr std::size_t shown = 16;  // digits of a fingerprint
  constexpr std::size_t day = 10;
  std::vector<std::string> certificates;
  certificates.reserve(escrow.certificates.size());
  for (const std::string& fingerprint : escrow.certificates) {
    certificates.push_back(escaped(fingerprint.substr(0, shown)));
  }
  return fmt::format("{}: recovery key (keyslot {}) in escrow since {} with {} of {}: {}",
                     escaped(volume.path), escrow.keyslot,
                     escaped(escrow.acknowledged.substr(0, day)), escrow.threshold,
                     escrow.certificates.size(), fmt::join(certificates, ", "));
}

// The one line that matters at three in the morning.
std::string summary(const Coverage& coverage) {
  static constexpr std::array verdicts_worst_first = {
      Verdict::not_covered,  Verdict::converting, Verdict::unknown, Verdict::suspended,
      Verdict::covered_weak, Verdict::covered,    Verdict::exempt};
  std::vector<std::string> parts;
  for (const Verdict verdict : verdicts_worst_first) {
    const auto count = std::ranges::count(coverage.volumes, verdict, &VolumeVerdict::verdict);
    if (count > 0) parts.push_back(fmt::format("{} {}", count, to_string(verdict)));
  }
  const char* word = "COVERED";
  switch (coverage.exit_status()) {
    case 0: break;
    case 1: word = "COVERED, WITH WARNINGS"; break;
    case 2: word = "NOT COVERED"; break;
    default: word = "UNDECIDED"; break;
  }
  return fmt::format("{}{}: {} volume{}: {}", word,
                     coverage.filter.is_all() ? "" : ", of these only", coverage.volumes.size(),
                     coverage.volumes.size() == 1 ? "" : "s",
                     parts.empty() ? "none" : fmt::format("{}", fmt::join(parts, ", ")));
}

// "On disks: 1.2 TiB encrypted, 20 GiB in clear, 3 GiB unused."
std::string byte_line(std::string_view where, const ByteCount& bytes) {
  std::vector<std::string> parts;
  const auto add = [&](std::uint64_t count, const char* what) {
    if (count != 0) parts.push_back(fmt::format("{} {}", human_size(count), what));
  };
  add(bytes.encrypted, "encrypted");
  add(bytes.converting, "being converted");
  add(bytes.plaintext, "in clear");
  add(bytes.unknown, "unknown");
  add(bytes.unused, "unused");
  return parts.empty() ? "" : fmt::format("{}: {}.\n", where, fmt::join(parts, ", "));
}

// That it is a part, first and last, so that nobody takes it for the whole.
std::string filter_line(const Coverage& coverage, const TextOptions& options) {
  std::string text;
  const std::string line =
      fmt::format("Only {}; the machine has more.", filter_words(coverage.filter));
  for (const std::string& piece : wrap(line, options.columns)) text += piece + "\n";
  return text;
}

}  // namespace

std::string to_text(const Coverage& coverage, const TextOptions& options) {
  std::string text;
  if (!coverage.filter.is_all()) text += filter_line(coverage, options) + "\n";
  if (!coverage.volumes.empty()) {
    // A machine of one owner has no use for the column.
    const bool owned = std::ranges::any_of(coverage.volumes, [](const VolumeVerdict& volume) {
      return !volume.tenant.empty() || !volume.environment.empty();
    });
    std::vector<std::vector<Cell>> rows;
    rows.push_back({{.text = "VERDICT"},
                    {.text = "VOLUME"},
                    {.text = "SIZE"},
                    {.text = "CONTENT"},
                    {.text = "MOUNTED AT"},
                    {.text = "OPENED BY"}});
    if (owned) rows.back().insert(rows.back().begin() + 2, {.text = "OF"});
    for (const VolumeVerdict& volume : coverage.volumes) {
      std::string verdict(to_string(volume.verdict));
      if (volume.verdict == Verdict::converting)
        verdict += fmt::format(" {} %", static_cast<int>(volume.percent));
      rows.push_back({{.text = verdict, .colour = colour_of(volume.verdict)},
                      {.text = escaped(volume.path)},
                      {.text = human_size(volume.size)},
                      {.text = volume.content},
                      {.text = joined(volume.mounts, "-")},
                      {.text = joined(volume.protectors, "-")}});
      const std::string owner = owner_words(volume.tenant, volume.environment);
      if (owned) rows.back().insert(rows.back().begin() + 2, {.text = owner.empty() ? "-" : owner});
    }
    text += render_table(rows, options.columns, options.colour);
    text += '\n';
  }
  bool reasons = false;
  for (const VolumeVerdict& volume : coverage.volumes) {
    for (const std::string& reason : volume.reasons) {
      const std::string head = escaped(volume.path);
      // Reasons name the device that is to blame, which often is the volume itself.
      const std::string line =
          reason.starts_with(head) ? reason : fmt::format("{}: {}", head, reason);
      bool first = true;
      for (const std::string& piece : wrap(line, options.columns - 4)) {
        text += fmt::format("{}{}\n", first ? "  " : "    ", piece);
        first = false;
      }
      reasons = true;
    }
  }
  for (const VolumeVerdict& volume : coverage.volumes) {
    for (const EscrowRecord& escrow : volume.escrows) {
      bool first = true;
      for (const std::string& piece : wrap(escrow_line(volume, escrow), options.columns - 4)) {
        text += fmt::format("{}{}\n", first ? "  " : "    ", piece);
        first = false;
      }
      reasons = true;
    }
  }
  for (const VolumeVerdict& volume : coverage.volumes) {
    for (const DrillAge& age : volume.drills) {
      // What is overdue is among the reasons; what nobody asked for and nobody did is no news.
      if (age.overdue || !age.days) continue;
      bool first = true;
      const std::string line = fmt::format("{}: {}", escaped(volume.path), drill_words(age));
      for (const std::string& piece : wrap(line, options.columns - 4)) {
        text += fmt::format("{}{}\n", first ? "  " : "    ", piece);
        first = false;
      }
      reasons = true;
    }
  }
  if (reasons) text += '\n';
  text += byte_line(coverage.filter.is_all() ? "On disks" : "Of these volumes", coverage.bytes);
  if (!coverage.shared_disks.empty())
    text += fmt::format("On disks that others use, too: {}.\n", joined(coverage.shared_disks, ""));
  const std::string last = summary(coverage);
  const bool good = coverage.exit_status() == 0;
  text +=
      options.colour ? fmt::format("\x1b[1;{}m{}\x1b[0m\n", good ? "32" : "31", last) : last + "\n";
  return text;
}

}  // namespace volseal
