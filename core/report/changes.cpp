#include "core/report/changes.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/table.h"
#include "core/report/markup.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>

namespace volseal {

namespace {

using EarlierJson = nlohmann::json;

constexpr std::size_t most_volumes = 100'000;
constexpr std::uint64_t largest_key_bits = 1U << 20U;

constexpr std::array every_verdict = {Verdict::suspended,    Verdict::covered,    Verdict::exempt,
                                      Verdict::covered_weak, Verdict::converting, Verdict::unknown,
                                      Verdict::not_covered};

Verdict verdict_named(const std::string& name) {
  const auto* found =
      std::ranges::find(every_verdict, name, [](Verdict verdict) { return to_string(verdict); });
  if (found == every_verdict.end())
    throw std::invalid_argument(fmt::format("there is no verdict \"{}\"", escaped(name)));
  return *found;
}

EarlierVolume earlier_volume(const EarlierJson& json) {
  EarlierVolume volume;
  json.at("id").get_to(volume.id);
  json.at("path").get_to(volume.path);
  json.at("luks_uuid").get_to(volume.luks_uuid);
  volume.verdict = verdict_named(json.at("verdict").get<std::string>());
  if (!json.at("percent").is_null()) json.at("percent").get_to(volume.percent);
  const auto& key_bits = json.at("key_bits");
  if (!key_bits.is_number_unsigned() || key_bits.get<std::uint64_t>() > largest_key_bits)
    throw std::invalid_argument("\"key_bits\" is no such number");
  key_bits.get_to(volume.key_bits);
  volume.reasons = json.at("reasons").get<std::vector<std::string>>().size();
  json.at("protectors").get_to(volume.protectors);
  volume.tenant = json.value("tenant", "");
  volume.environment = json.value("environment", "");
  volume.policy_group = json.value("policy_group", json.value("group", ""));
  return volume;
}

Filter earlier_filter(const EarlierJson& report) {
  Filter filter;
  const auto found = report.find("filter");
  if (found == report.end() || found->is_null()) return filter;
  const auto list = [&](const char* key, std::vector<std::string>& names) {
    if (!found->at(key).is_null()) found->at(key).get_to(names);
  };
  list("tenants", filter.tenants);
  list("environments", filter.environments);
  list("groups", filter.groups);
  return filter;
}

// Whether the data itself is behind a cipher.
bool is_encrypted(Verdict verdict) {
  return verdict == Verdict::covered || verdict == Verdict::covered_weak ||
         verdict == Verdict::suspended;
}

// An exemption changes what is asked for and nothing of the data: only an encrypted volume loses by
// it, and one that is still in clear when it ends was no better before.
Course course_of_verdicts(Verdict before, Verdict now) {
  if (now == Verdict::exempt) return is_encrypted(before) ? Course::worse : Course::other;
  if (before == Verdict::exempt) return is_encrypted(now) ? Course::better : Course::worse;
  return now < before ? Course::better : Course::worse;
}

class Comparer {
 public:
  Comparer(const EarlierReport& earlier, const Report& now) : earlier_(earlier), now_(now) {}

  Comparison compare() {
    Comparison result{.since = earlier_.taken_at, .changes = {}};
    find_pairs();
    for (std::size_t at = 0; at < volumes().size(); ++at) {
      if (const EarlierVolume* before = pairs_[at]) {
        compare_volume(*before, at);
      } else {
        const Verdict verdict = volumes()[at].verdict;
        add(is_encrypted(verdict) || verdict == Verdict::exempt ? Course::other : Course::worse, at,
            fmt::format("is new, and {}", to_string(verdict)));
      }
    }
    const std::set<const EarlierVolume*> still_there(pairs_.begin(), pairs_.end());
    for (const EarlierVolume& volume : earlier_.volumes) {
      if (still_there.contains(&volume)) continue;
      changes_.push_back({.course = Course::other,
                          .id = volume.id,
                          .path = volume.path,
                          .what = fmt::format("is gone; was {}", to_string(volume.verdict))});
    }
    std::ranges::stable_sort(changes_, {}, [](const Change& change) {
      return change.course == Course::worse ? 0 : change.course == Course::better ? 1 : 2;
    });
    result.changes = std::move(changes_);
    return result;
  }

 private:
  const std::vector<VolumeVerdict>& volumes() const { return now_.coverage.volumes; }

  void find_pairs() {
    std::map<std::string, const EarlierVolume*> by_id;
    std::map<std::string, const EarlierVolume*> by_luks;
    for (const EarlierVolume& volume : earlier_.volumes) by_id.emplace(volume.id, &volume);
    pairs_.assign(volumes().size(), nullptr);
    for (std::size_t at = 0; at < volumes().size(); ++at) {
      const auto found = by_id.find(to_valid_utf8(now_.ids[at]));
      if (found == by_id.end()) continue;
      pairs_[at] = found->second;
      by_id.erase(found);
    }
    for (const auto& [id, volume] : by_id) {
      if (!volume->luks_uuid.empty()) by_luks.emplace(volume->luks_uuid, volume);
    }
    for (std::size_t at = 0; at < volumes().size(); ++at) {
      const auto found = by_luks.find(to_valid_utf8(volumes()[at].luks_uuid));
      if (pairs_[at] != nullptr || found == by_luks.end()) continue;
      pairs_[at] = found->second;
      by_luks.erase(found);
    }
  }

  void add(Course course, std::size_t at, std::string what) {
    changes_.push_back({.course = course,
                        .id = now_.ids[at],
                        .path = volumes()[at].path,
                        .what = std::move(what)});
  }

  void compare_volume(const EarlierVolume& before, std::size_t at) {
    const VolumeVerdict& now = volumes()[at];
    if (now.verdict != before.verdict) {
      add(course_of_verdicts(before.verdict, now.verdict), at,
          fmt::format("was {}, is {}", to_string(before.verdict), to_string(now.verdict)));
      return;
    }
    if (now.verdict == Verdict::converting && now.percent != before.percent) {
      add(now.percent > before.percent ? Course::better : Course::worse, at,
          fmt::format("was {:.1f} % encrypted, is {:.1f} %", before.percent, now.percent));
    }
    if (!is_encrypted(now.verdict)) return;
    if (now.key_bits != before.key_bits) {
      add(now.key_bits > before.key_bits ? Course::better : Course::worse, at,
          fmt::format("had a key of {} bits, has {}", before.key_bits, now.key_bits));
    }
    compare_protectors(before, at);
    // By number: their words name devices, and the kernel gives those other names at each boot.
    if (now.reasons.size() != before.reasons) {
      add(now.reasons.size() < before.reasons ? Course::better : Course::worse, at,
          fmt::format("had {} weaknesses, has {}", before.reasons, now.reasons.size()));
    }
  }

  void compare_protectors(const EarlierVolume& before, std::size_t at) {
    const std::vector<std::string>& now = volumes()[at].protectors;
    for (const std::string& protector : before.protectors) {
      if (std::ranges::find(now, protector) == now.end())
        add(Course::worse, at, fmt::format("is no longer opened by {}", report::plain(protector)));
    }
    // One way in more: whoever holds it may be meant to, or not.
    for (const std::string& protector : now) {
      if (std::ranges::find(before.protectors, protector) == before.protectors.end())
        add(Course::other, at, fmt::format("is opened by {}, too", report::plain(protector)));
    }
  }

  const EarlierReport& earlier_;
  const Report& now_;
  std::vector<const EarlierVolume*> pairs_;
  std::vector<Change> changes_;
};

}  // namespace

std::string_view to_string(Course course) {
  switch (course) {
    case Course::better: return "better";
    case Course::worse: return "worse";
    case Course::other: return "other";
  }
  return "";
}

bool Comparison::worse() const {
  return std::ranges::find(changes, Course::worse, &Change::course) != changes.end();
}

EarlierReport parse_earlier_report(std::string_view text, std::string_view source) {
  const auto fail = [&](std::string_view why) {
    throw Error(Code::bad_report, "{}: {}", escaped(source), why);
  };
  const EarlierJson json = EarlierJson::parse(text, nullptr, false);
  if (!json.is_object()) fail("not a report in JSON");
  EarlierReport report;
  try {
    if (json.at("schema") != "volseal-coverage/1")
      fail("of another schema than volseal-coverage/1");
    json.at("host").get_to(report.host);
    json.at("taken_at").get_to(report.taken_at);
    report.filter = earlier_filter(json);
    const EarlierJson& volumes = json.at("volumes");
    if (!volumes.is_array() || volumes.size() > most_volumes) fail("its volumes are no list");
    for (const EarlierJson& volume : volumes) report.volumes.push_back(earlier_volume(volume));
  } catch (const EarlierJson::exception& error) {
    fail(on_one_line(error.what()));
  } catch (const std::invalid_argument& error) {
    fail(error.what());
  }
  return report;
}

namespace {

// The part of the earlier report that the one of now is of.
EarlierReport part_of(EarlierReport earlier, const Filter& filter) {
  if (earlier.filter == filter) return earlier;
  if (!earlier.filter.is_all()) {
    throw Error(Code::bad_report, "compare with a report of {} only: this one is of {}",
                filter_words(earlier.filter),
                filter.is_all() ? "the whole machine" : filter_words(filter));
  }
  std::erase_if(earlier.volumes, [&](const EarlierVolume& volume) {
    return !filter.wants(volume.tenant, volume.environment, volume.policy_group);
  });
  return earlier;
}

}  // namespace

Comparison compare(const EarlierReport& earlier, const Report& now) {
  if (earlier.host != to_valid_utf8(now.coverage.host)) {
    throw Error(Code::bad_report, "compare with the report of {}: this one is of {}",
                escaped(earlier.host), escaped(now.coverage.host));
  }
  return Comparer(part_of(earlier, now.coverage.filter), now).compare();
}

std::string changes_text(const Comparison& comparison, const TextOptions& options) {
  std::string text = fmt::format("Since {}:", report::plain(comparison.since));
  if (comparison.changes.empty()) return text + " no change.\n";
  text += '\n';
  for (const Change& change : comparison.changes) {
    const std::string line = fmt::format("{}: {} {}", to_string(change.course),
                                         report::plain(change.path), on_one_line(change.what));
    bool first = true;
    for (const std::string& piece : wrap(line, options.columns - 4)) {
      text += fmt::format("{}{}\n", first ? "  " : "    ", piece);
      first = false;
    }
  }
  return text;
}

}  // namespace volseal
