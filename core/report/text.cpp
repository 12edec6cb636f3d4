#include "core/base/escape.h"
#include "core/base/table.h"
#include "core/report/report.h"

#include <fmt/format.h>

namespace volseal {

namespace {

std::string_view support_colour(Support support) {
  switch (support) {
    case Support::supported: return "32";
    case Support::contradicted: return "1;31";
    case Support::no_evidence: return "2";
  }
  return "";
}

std::string support_words(const ControlResult& result) {
  if (result.support == Support::supported && !result.control.sufficient) return "in part";
  return std::string(to_string(result.support));
}

}  // namespace

std::string controls_text(const Report& report, const TextOptions& options) {
  std::vector<std::vector<Cell>> rows;
  rows.push_back({{.text = "SUPPORT"},
                  {.text = "MEASURE"},
                  {.text = "TITLE"},
                  {.text = "FOR"},
                  {.text = "AGAINST"}});
  for (const ControlResult& result : report.controls) {
    const Control& control = result.control;
    rows.push_back({{.text = support_words(result), .colour = support_colour(result.support)},
                    {.text = fmt::format("{} {}", control.catalogue, control.reference)},
                    {.text = control.title},
                    {.text = std::to_string(result.supporting.size())},
                    {.text = std::to_string(result.contradicting.size())}});
  }
  std::string text = render_table(rows, options.columns, options.colour);
  text += '\n';
  for (const ControlResult& result : report.controls) {
    if (result.control.note.empty()) continue;
    bool first = true;
    for (const std::string& piece :
         wrap(fmt::format("{}: {}", result.control.reference, result.control.note),
              options.columns - 4)) {
      text += fmt::format("{}{}\n", first ? "  " : "    ", piece);
      first = false;
    }
  }
  return text + "\nFacts of this day; whether a measure is fulfilled is for who assesses it.\n";
}

}  // namespace volseal
