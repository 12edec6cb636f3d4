#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/table.h"
#include "core/coverage/explain.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace volseal {

namespace {

using StepJson = nlohmann::ordered_json;

std::string state_words(Step::State state) {
  switch (state) {
    case Step::State::open: return "";
    case Step::State::encrypted: return "ENCRYPTED from here on";
    case Step::State::sealed: return "ciphertext";
    case Step::State::leak: return "LEAKS: in clear";
    case Step::State::unknown: return "NOT KNOWN";
    case Step::State::nothing: return "nothing is stored";
  }
  return "";
}

std::string_view state_colour(Step::State state) {
  switch (state) {
    case Step::State::encrypted: return "32";
    case Step::State::leak: return "1;31";
    case Step::State::unknown: return "1;33";
    case Step::State::sealed:
    case Step::State::nothing: return "2";
    case Step::State::open: break;
  }
  return "";
}

std::string range_words(const ByteRange& bytes) {
  if (bytes.start == 0) return human_size(bytes.size);
  return fmt::format("{} at byte {}", human_size(bytes.size), bytes.start);
}

void add_rows(std::vector<std::vector<Cell>>& rows, const Step& step, const std::string& branch,
              const std::string& indent) {
  rows.push_back({{.text = branch + escaped(step.path), .whole = true},
                  {.text = range_words(step.bytes)},
                  {.text = step.what},
                  {.text = state_words(step.state), .colour = state_colour(step.state)}});
  for (std::size_t i = 0; i < step.below.size(); ++i) {
    const bool last = i + 1 == step.below.size();
    add_rows(rows, step.below[i], indent + (last ? "└─" : "├─"), indent + (last ? "  " : "│ "));
  }
}

StepJson range_json(const ByteRange& bytes) {
  return {{"start", bytes.start}, {"size", bytes.size}};
}

StepJson step_json(const Step& step) {
  StepJson below = StepJson::array();
  for (const Step& lower : step.below) below.push_back(step_json(lower));
  return {{"path", to_valid_utf8(step.path)},
          {"what", to_valid_utf8(step.what)},
          {"bytes", range_json(step.bytes)},
          {"state", to_string(step.state)},
          {"below", std::move(below)}};
}

}  // namespace

std::string to_text(const Explanation& explanation, const TextOptions& options) {
  const VolumeVerdict& verdict = explanation.verdict;
  std::string text = fmt::format("{}: {}\n", escaped(verdict.path), to_string(verdict.verdict));
  for (const std::string& reason : verdict.reasons) {
    bool first = true;
    for (const std::string& piece : wrap(reason, options.columns - 4)) {
      text += fmt::format("{}{}\n", first ? "  " : "    ", piece);
      first = false;
    }
  }
  std::vector<std::vector<Cell>> rows{
      {{.text = "THE WAY DOWN"}, {.text = "BYTES"}, {.text = "WHAT"}, {.text = ""}}};
  add_rows(rows, explanation.top, "", "");
  text += '\n' + render_table(rows, options.columns, options.colour);
  if (explanation.cut) text += "There is more than is shown.\n";
  text += '\n';
  if (explanation.leaks.empty()) text += "No plaintext reaches a disk this way.\n";
  for (const Leaf& leaf : explanation.leaks) {
    text += fmt::format("{} {}: {} at byte {}\n", leaf.unknown ? "not known:" : "leaks on",
                        escaped(leaf.path), human_size(leaf.bytes.size), leaf.bytes.start);
  }
  return text;
}

std::string to_json(const Explanation& explanation) {
  const VolumeVerdict& verdict = explanation.verdict;
  StepJson reasons = StepJson::array();
  for (const std::string& reason : verdict.reasons) reasons.push_back(to_valid_utf8(reason));
  StepJson leaks = StepJson::array();
  for (const Leaf& leaf : explanation.leaks) {
    leaks.push_back({{"path", to_valid_utf8(leaf.path)},
                     {"bytes", range_json(leaf.bytes)},
                     {"known", !leaf.unknown}});
  }
  const StepJson json = {{"schema", "volseal-explain/1"},
                         {"path", to_valid_utf8(verdict.path)},
                         {"verdict", to_string(verdict.verdict)},
                         {"reasons", std::move(reasons)},
                         {"way", step_json(explanation.top)},
                         {"leaks", std::move(leaks)},
                         {"cut", explanation.cut}};
  return json.dump(1) + "\n";
}

}  // namespace volseal
