#include "core/watch/finding.h"

#include "core/base/escape.h"
#include "core/base/human.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

std::string joined(std::string_view a, std::string_view separator, std::string_view b) {
  return fmt::format("{}{}{}", a, a.empty() || b.empty() ? "" : separator, b);
}

std::string to_text(const Origin& from) {
  std::string text = joined(escaped(from.name), " ", escaped(from.bus));
  text = joined(text, " ", escaped(joined(from.vendor, " ", from.model), 80));
  if (!from.serial.empty()) text += " serial " + escaped(from.serial, 80);
  if (!from.port.empty()) text += " at " + escaped(from.port, 160);
  if (from.removable) text += " (removable)";
  return text;
}

Json to_json(const Origin& from) {
  return {{"name", to_valid_utf8(from.name)},   {"bus", to_valid_utf8(from.bus)},
          {"port", to_valid_utf8(from.port)},   {"vendor", to_valid_utf8(from.vendor)},
          {"model", to_valid_utf8(from.model)}, {"serial", to_valid_utf8(from.serial)},
          {"wwn", to_valid_utf8(from.wwn)},     {"removable", from.removable}};
}

Json to_json(const std::vector<std::string>& texts) {
  Json json = Json::array();
  for (const std::string& text : texts) json.push_back(to_valid_utf8(text));
  return json;
}

}  // namespace

// A machine with a thousand disks below one volume still gets one readable line.
std::string to_text(const std::vector<Origin>& from) {
  constexpr std::size_t shown = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(from.size(), shown); ++i)
    text = joined(text, " and ", to_text(from[i]));
  if (from.size() > shown) text += fmt::format(" and {} more", from.size() - shown);
  return text;
}

std::string_view to_string(Happening what) {
  switch (what) {
    case Happening::present: return "present";
    case Happening::attached: return "attached";
    case Happening::changed: return "changed";
    case Happening::removed: return "removed";
    case Happening::vanished: return "vanished";
    case Happening::blind: return "blind";
    case Happening::repeated: return "repeated";
  }
  return "changed";
}

bool needs_attention(const Finding& finding) {
  switch (finding.what) {
    case Happening::removed: return false;
    case Happening::vanished:
    case Happening::blind: return true;
    case Happening::present:
    case Happening::attached:
    case Happening::changed:
    case Happening::repeated: break;
  }
  switch (finding.volume.verdict) {
    case Verdict::covered:
    case Verdict::covered_weak:
    case Verdict::suspended:
    case Verdict::exempt: return false;
    case Verdict::converting:
    case Verdict::unknown:
    case Verdict::not_covered: return finding.action != "allow";
  }
  return true;
}

std::string to_text(const Finding& finding) {
  const VolumeVerdict& volume = finding.volume;
  if (finding.what == Happening::blind) {
    return fmt::format("blind for {} ms: {}; everything was looked at again",
                       finding.boot_ms - finding.since_ms, fmt::join(finding.changes, "; "));
  }
  std::string text = fmt::format("{} {}", to_string(finding.what), escaped(volume.path));
  if (finding.what == Happening::removed) return joined(text, ": ", to_text(finding.from));
  if (const std::string owner = owner_words(volume.tenant, volume.environment); !owner.empty())
    text += fmt::format(" of {}", owner);
  text += fmt::format(": {}", to_string(volume.verdict));
  text = joined(text, ", ", escaped(volume.content));
  if (!finding.label.empty()) text += fmt::format(" \"{}\"", escaped(finding.label, 64));
  if (volume.size != 0) text += ", " + human_size(volume.size);
  for (const std::string& change : finding.changes) text += "; " + escaped(change);
  for (const std::string& reason : volume.reasons) text += "; " + escaped(reason);
  if (finding.what == Happening::present) {
    for (const std::string& mount : volume.mounts) text += "; mounted at " + escaped(mount);
    if (finding.swap_active) text += "; swapped to";
  }
  text = joined(text, "; from ", to_text(finding.from));
  text += volume.rule.empty() ? "; no rule" : "; rule \"" + escaped(volume.rule) + "\"";
  text += "; " + finding.action;
  if (!finding.watch_rule.empty()) text += " by rule \"" + escaped(finding.watch_rule) + "\"";
  return finding.why.empty() ? text : text + " (" + escaped(finding.why, 300) + ")";
}

std::string to_json_line(const Finding& finding) {
  const VolumeVerdict& volume = finding.volume;
  Json from = Json::array();
  for (const Origin& origin : finding.from) from.push_back(to_json(origin));
  const Json json = {
      {"schema", "volseal-finding/1"},
      {"time", finding.time},
      {"boot_ms", finding.boot_ms},
      {"what", to_string(finding.what)},
      {"attention", needs_attention(finding)},
      {"noticed_by", finding.noticed_by},
      {"seqnum", finding.seqnum},
      {"since_ms", finding.since_ms},
      {"name", to_valid_utf8(volume.name)},
      {"path", to_valid_utf8(volume.path)},
      {"diskseq", finding.diskseq},
      {"size", volume.size},
      {"from", std::move(from)},
      {"content", to_valid_utf8(volume.content)},
      {"label", to_valid_utf8(finding.label)},
      {"uuid", to_valid_utf8(finding.uuid)},
      {"luks_uuid", to_valid_utf8(volume.luks_uuid)},
      {"mounts", to_json(volume.mounts)},
      {"swap_active", finding.swap_active},
      {"changes", to_json(finding.changes)},
      {"verdict", finding.what == Happening::blind ? "" : to_string(volume.verdict)},
      {"reasons", to_json(volume.reasons)},
      {"group", to_valid_utf8(volume.policy_group)},
      {"tenant", to_valid_utf8(volume.tenant)},
      {"environment", to_valid_utf8(volume.environment)},
      {"rule", to_valid_utf8(volume.rule)},
      {"action", finding.action},
      {"why", to_valid_utf8(finding.why)},
      {"watch_rule", to_valid_utf8(finding.watch_rule)},
  };
  return json.dump(-1, ' ', true);
}

}  // namespace volseal
