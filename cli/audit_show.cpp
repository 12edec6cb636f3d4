#include "cli/audit_show.h"

#include "cli/operator_view.h"
#include "cli/output.h"
#include "cli/world.h"
#include "core/audit/reader.h"
#include "core/base/escape.h"
#include "core/base/table.h"
#include "core/report/csv.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <deque>
#include <functional>
#include <utility>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

// What a person wants to know of an event beyond its columns.
std::string detail_text(const Event& event) {
  if (const auto summary = event.detail.find("summary"); summary != event.detail.end())
    return escaped(summary->second, 512);
  std::string text;
  for (const auto& [key, value] : event.detail) {
    if (value.empty()) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", escaped(key), escaped(value, 80));
  }
  return text;
}

std::string_view colour_of(const Event& event) {
  if (event.outcome == "ok" || event.outcome == "opened" || event.outcome == audit_started)
    return "";
  return event.outcome == "failed" || event.outcome == "refused" ? "31" : "33";
}

std::string table_of(const std::deque<AuditRecord>& records) {
  std::vector<std::vector<Cell>> rows(1);
  for (const char* title : {"TIME", "WHO", "WHAT", "VOLUME", "DETAIL"})
    rows.front().push_back({.text = title, .colour = "1"});
  for (const AuditRecord& record : records) {
    const Event& event = record.event;
    // To the second, and without its T: a line of the table is for people.
    std::string time = escaped(record.time.substr(0, record.time.find('.')), 40);
    if (const auto at = time.find('T'); at != std::string::npos) time[at] = ' ';
    rows.push_back({{.text = time, .whole = true},
                    {.text = who_text(record.who)},
                    {.text = fmt::format("{} {}", escaped(event.action), escaped(event.outcome)),
                     .colour = colour_of(event)},
                    {.text = escaped(event.volume)},
                    {.text = detail_text(event)}});
  }
  return render_table(rows, columns(STDOUT_FILENO), may_colour(STDOUT_FILENO));
}

std::string json_of(const std::deque<std::string>& lines, std::uint64_t left_out) {
  std::string text =
      fmt::format(R"({{"schema":"volseal-audit-show/1","left_out":{},"events":[)", left_out);
  // Each line is JSON already.
  for (std::size_t i = 0; i < lines.size(); ++i) text += (i == 0 ? "\n" : ",\n") + lines[i];
  return text + "\n]}\n";
}

std::string csv_of(const AuditRecord& record) {
  const Actor& who = record.who;
  const Event& event = record.event;
  Json detail = Json::object();
  for (const auto& [key, value] : event.detail) detail[key] = value;
  std::vector<std::string> cells = {
      std::to_string(record.seq),
      record.time,
      std::to_string(record.boot_ms),
      record.boot_id,
      record.host,
      who.loginuid ? std::to_string(*who.loginuid) : "",
      std::to_string(who.uid),
      std::to_string(who.euid),
      who.tty,
      who.session,
      who.remote,
      who.ssh,
      who.unit,
      std::to_string(who.pid),
      who.program,
      who.verb,
      event.action,
      event.outcome,
      event.volume,
      event.luks_uuid,
      event.group,
      detail.dump(-1, ' ', true),
  };
  for (std::string& cell : cells) cell = escaped(cell, cell.size());
  return csv_record(cells);
}

// Of the log; for who is not root, of what root has left for their groups.
void each_event(const Options& options,
                const std::function<void(const AuditRecord&, std::string_view)>& visit) {
  if (!for_each_published_event(options, visit))
    for_each_event(audit_log_of(options).log, "", visit);
}

}  // namespace

void show_audit(const AuditShow& show, const Options& options) {
  const AuditFilter filter(show.selection);
  std::deque<AuditRecord> records;
  std::deque<std::string> lines;
  std::uint64_t left_out = 0;
  const auto keep = [&](auto& kept, auto value) {
    kept.push_back(std::move(value));
    if (show.last == 0 || kept.size() <= show.last) return;
    kept.pop_front();
    ++left_out;
  };
  each_event(options, [&](const AuditRecord& record, std::string_view line) {
    if (!filter.wants(record)) return;
    if (show.json)
      keep(lines, std::string(line));
    else
      keep(records, record);
  });
  if (show.json) {
    print_out(json_of(lines, left_out));
    return;
  }
  if (left_out != 0) print_err("{} earlier events are not shown: see --last\n", left_out);
  print_out(table_of(records));
}

void export_audit(const AuditSelection& selection, AuditFormat format, const Options& options) {
  const AuditFilter filter(selection);
  std::string out;
  constexpr std::size_t piece = 256U << 10U;
  if (format == AuditFormat::csv) {
    out = csv_record({"seq",    "time",      "boot_ms", "boot_id", "host",   "loginuid",
                      "uid",    "euid",      "tty",     "session", "remote", "ssh",
                      "unit",   "pid",       "program", "verb",    "action", "outcome",
                      "volume", "luks_uuid", "group",   "detail"});
  }
  each_event(options, [&](const AuditRecord& record, std::string_view line) {
    if (!filter.wants(record)) return;
    if (format == AuditFormat::csv)
      out += csv_of(record);
    else
      (out += line) += '\n';
    if (out.size() < piece) return;
    print_out(out);
    out.clear();
  });
  print_out(out);
}

}  // namespace volseal
