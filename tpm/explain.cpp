#include "tpm/explain.h"

#include "core/base/error.h"
#include "tpm/pcr.h"

#include <algorithm>
#include <set>

namespace volseal::tpm {

namespace {

constexpr std::size_t max_changes = 4;

struct Known {
  Bytes prefix;
  std::string description;  // "" where only the prefix was kept
};

bool is_prefix(const Bytes& prefix, const Bytes& whole) {
  return prefix.size() <= whole.size() && std::equal(prefix.begin(), prefix.end(), whole.begin());
}

std::vector<const Event*> events_of(const EventLog& log, int pcr, const std::string& bank) {
  std::vector<const Event*> events;
  for (const Event& event : log.events) {
    if (event.pcr == pcr && event.digests.contains(bank)) events.push_back(&event);
  }
  return events;
}

// The approved boot's events of a PCR, from the kept log or from the prefixes in the token.
std::optional<std::vector<Known>> approved_events(const SealedGroup& sealed, int pcr,
                                                  const std::optional<EventLog>& log) {
  std::vector<Known> known;
  if (log) {
    for (const Event* event : events_of(*log, pcr, sealed.bank)) {
      known.push_back({.prefix = event->digests.at(sealed.bank), .description = describe(*event)});
    }
    return known;
  }
  for (std::size_t at = 0; at + SealedGroup::event_size <= sealed.events.size();
       at += SealedGroup::event_size) {
    const auto entry = std::span(sealed.events).subspan(at, SealedGroup::event_size);
    if (entry[0] == pcr)
      known.push_back({.prefix = {entry.begin() + 1, entry.end()}, .description = {}});
  }
  if (known.empty()) return std::nullopt;
  return known;
}

// What is left once the same events at both ends are set aside.
std::vector<std::string> changes_between(std::vector<Known> before, std::vector<const Event*> after,
                                         const std::string& bank) {
  const auto same = [&](const Known& known, const Event* event) {
    return is_prefix(known.prefix, event->digests.at(bank));
  };
  while (!before.empty() && !after.empty() && same(before.back(), after.back())) {
    before.pop_back();
    after.pop_back();
  }
  std::size_t common = 0;
  while (common < before.size() && common < after.size() && same(before[common], after[common]))
    ++common;
  before.erase(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(common));
  after.erase(after.begin(), after.begin() + static_cast<std::ptrdiff_t>(common));

  std::vector<std::string> changes;
  for (const Event* event : after) {
    // What only moved is no change worth a word.
    if (std::ranges::any_of(before, [&](const Known& known) { return same(known, event); }))
      continue;
    changes.push_back(describe_change(*event, bank));
  }
  if (changes.empty()) {
    for (const Known& known : before) {
      const bool still =
          std::ranges::any_of(after, [&](const Event* event) { return same(known, event); });
      if (still) continue;
      changes.push_back(known.description.empty() ? "something is no longer measured"
                                                  : known.description + " is no longer measured");
    }
  }
  if (changes.empty() && !after.empty())
    changes.emplace_back("the same was measured in another order");
  std::set<std::string> said;
  std::erase_if(changes, [&](const std::string& change) { return !said.insert(change).second; });
  if (changes.size() > max_changes) {
    const std::size_t more = changes.size() - max_changes;
    changes.resize(max_changes);
    changes.push_back(fmt::format("and {} more", more));
  }
  return changes;
}

std::vector<int> moved_pcrs(const SealedGroup& sealed, const PcrValues& now) {
  std::optional<std::vector<int>> fewest;
  for (const PcrState& state : sealed.states) {
    std::vector<int> moved;
    std::size_t at = 0;
    for (const auto& [pcr, value] : now) {
      const auto prefix = std::span(state.prefixes).subspan(at, SealedGroup::prefix_size);
      const bool same =
          std::ranges::equal(prefix, std::span(value).first(SealedGroup::prefix_size));
      if (!same && pcr != sealed.latch) moved.push_back(pcr);
      at += SealedGroup::prefix_size;
    }
    // Of equally near states the newest: it is what the kept events belong to.
    if (!fewest || moved.size() <= fewest->size()) fewest = std::move(moved);
  }
  return fewest.value_or(std::vector<int>{});
}

}  // namespace

std::optional<std::string> read_event_log(const Path& path) {
  if (path.empty()) return std::nullopt;
  return read_file_if_any(path, EventLog::max_size);
}

Bytes event_prefixes(const EventLog& log, const SealedGroup& sealed) {
  std::vector<int> pcrs = sealed.pcrs;
  const auto count = [&](int pcr) { return events_of(log, pcr, sealed.bank).size(); };
  const auto total = [&] {
    std::size_t sum = 0;
    for (const int pcr : pcrs) sum += count(pcr);
    return sum;
  };
  while (total() > SealedGroup::max_events) pcrs.erase(std::ranges::max_element(pcrs, {}, count));
  Bytes packed;
  for (const int pcr : pcrs) {
    for (const Event* event : events_of(log, pcr, sealed.bank)) {
      const Bytes& digest = event->digests.at(sealed.bank);
      packed.push_back(static_cast<std::uint8_t>(pcr));
      packed.insert(packed.end(), digest.begin(), digest.begin() + (SealedGroup::event_size - 1));
    }
  }
  return packed;
}

std::vector<std::string> changes_of(const SealedGroup& sealed, int pcr,
                                    const std::optional<EventLog>& approved_log,
                                    const EventLog& now) {
  const auto before = approved_events(sealed, pcr, approved_log);
  if (!before) return {};
  return changes_between(*before, events_of(now, pcr, sealed.bank), sealed.bank);
}

Explanation explain(Connection& tpm, const SealedGroup& sealed,
                    const std::optional<EventLog>& approved_log) {
  const PcrValues now = read_pcrs(tpm, sealed.bank, bound_pcrs(sealed));
  Explanation explanation;
  explanation.latch_closed =
      std::ranges::any_of(now.at(sealed.latch), [](std::uint8_t byte) { return byte != 0; });
  std::optional<EventLog> log;
  try {
    if (const auto text = read_event_log(tpm.event_log())) {
      log = parse_event_log(
          std::span(reinterpret_cast<const std::uint8_t*>(text->data()), text->size()));
    } else {
      explanation.log_problem = "the firmware left no event log";
    }
  } catch (const Error& error) {
    explanation.log_problem = error.what();
  }
  if (log && std::ranges::find(log->banks, sealed.bank) == log->banks.end()) {
    explanation.log_problem = fmt::format("the event log has no {} digests", sealed.bank);
    log.reset();
  }
  explanation.log_there = log.has_value();
  const PcrValues replayed = log ? replay(*log, sealed.bank) : PcrValues{};
  for (const int pcr : moved_pcrs(sealed, now)) {
    PcrDifference difference{.pcr = pcr, .log_agrees = true, .changes = {}};
    if (log) {
      const auto value = replayed.find(pcr);
      difference.log_agrees = value != replayed.end() && value->second == now.at(pcr);
      if (difference.log_agrees) difference.changes = changes_of(sealed, pcr, approved_log, *log);
    }
    explanation.differences.push_back(std::move(difference));
  }
  return explanation;
}

std::string summary(const Explanation& explanation, int latch) {
  if (explanation.latch_closed) {
    return fmt::format(
        "PCR {} is closed for this boot (the latch): the TPM unseals again after a restart", latch);
  }
  if (explanation.differences.empty()) return "the PCRs are not in an approved state";
  std::string text;
  bool said = false;
  bool distrusted = false;
  const auto& differences = explanation.differences;
  for (std::size_t i = 0; i < differences.size(); ++i) {
    text += i == 0 ? (differences.size() == 1 ? "PCR " : "PCRs ")
                   : (i + 1 == differences.size() ? " and " : ", ");
    text += std::to_string(differences[i].pcr);
    said |= !differences[i].changes.empty();
    distrusted |= !differences[i].log_agrees;
  }
  text += differences.size() == 1 ? " is not as approved" : " are not as approved";
  for (const PcrDifference& difference : differences) {
    if (difference.changes.empty()) continue;
    text += differences.size() == 1 ? ": " : fmt::format("; PCR {}: ", difference.pcr);
    text += fmt::format("{}", fmt::join(difference.changes, ", "));
  }
  if (distrusted)
    text += "; the event log does not lead to what the PCRs hold and cannot be trusted";
  if (!said && !distrusted) {
    const std::string_view meaning = meaning_of_pcr(differences.front().pcr);
    if (!meaning.empty()) text += fmt::format(" ({})", meaning);
  }
  return text;
}

}  // namespace volseal::tpm
