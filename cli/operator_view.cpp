#include "cli/operator_view.h"

#include "cli/operator_peer.h"
#include "cli/world.h"
#include "core/audit/reader.h"
#include "core/audit/record.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/report/published.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace volseal {

namespace {

constexpr mode_t for_who_knows_the_name = 0711;
constexpr mode_t folder_for_members = 0750;
constexpr mode_t file_for_members = 0640;
constexpr std::size_t most_events = 1000;
constexpr std::size_t largest_published = 64U << 20U;
constexpr const char* report_name = "report.json";
constexpr const char* events_name = "audit.jsonl";

std::optional<gid_t> gid_of(const std::string& name) {
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(64U << 10U);
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr)
    return std::nullopt;
  return entry.gr_gid;
}

void give_to(const Path& path, gid_t gid, mode_t mode) {
  // The group before the mode: nobody else's may read it in between.
  if (::lchown(path.c_str(), 0, gid) != 0)
    throw_errno(errno, "give {} to its group", path.native());
  if (::chmod(path.c_str(), mode) != 0) throw_errno(errno, "set the mode of {}", path.native());
}

void publish_file(const Path& file, std::string_view content, gid_t gid) {
  write_file(file, content, 0600);
  give_to(file, gid, file_for_members);
}

std::map<std::string, std::set<std::string>> groups_by_operators(const Policy& policy) {
  std::map<std::string, std::set<std::string>> all;
  for (const Group& group : policy.groups) {
    if (!group.operators.empty()) all[group.operators].insert(group.name);
  }
  return all;
}

// The newest events about these groups, or these volumes.
std::string events_of(const Options& options, const std::set<std::string>& groups,
                      const std::set<std::string>& uuids) {
  std::deque<std::string> lines;
  try {
    for_each_event(
        audit_log_of(options).log, "", [&](const AuditRecord& record, std::string_view line) {
          const Event& event = record.event;
          const bool theirs =
              event.group.empty() ? uuids.contains(event.luks_uuid) : groups.contains(event.group);
          if (!theirs) return;
          lines.emplace_back(line);
          if (lines.size() > most_events) lines.pop_front();
        });
  } catch (const Error& error) {
    if (error.code() != Code::not_found) throw;
  }
  std::string text;
  for (const std::string& line : lines) (text += line) += '\n';
  return text;
}

void publish_to(const Path& folder, const Options& options, const std::set<std::string>& groups,
                gid_t gid, const Report& whole) {
  make_folder(folder);
  give_to(folder, gid, folder_for_members);
  Report part = narrowed(whole, {.groups = {groups.begin(), groups.end()}});
  // Not theirs to know, whatever it is called.
  part.coverage.policy = "";
  std::set<std::string> uuids;
  for (const VolumeVerdict& volume : part.coverage.volumes) {
    if (!volume.luks_uuid.empty()) uuids.insert(volume.luks_uuid);
  }
  publish_file(folder / report_name, report_json(part), gid);
  publish_file(folder / events_name, events_of(options, groups, uuids), gid);
}

void withdraw(const Path& folder) {
  std::error_code ignored;
  for (const char* name : {report_name, events_name})
    std::filesystem::remove(folder / name, ignored);
  std::filesystem::remove(folder, ignored);
}

std::optional<std::string> read_published(const Options& options, const std::string& unix_group,
                                          const char* name) {
  try {
    return read_file_if_any(operators_folder(options) / unix_group / name, largest_published);
  } catch (const Error& error) {
    if (error.code() != Code::denied) throw;
    return std::nullopt;
  }
}

}  // namespace

Path operators_folder(const Options& options) {
  return options.state.native() + "-operators";
}

Path operators_socket(const std::string& unix_group) {
  return Path("/run/volseal-operators") / (unix_group + ".sock");
}

void require_private(const Policy& policy, const Path& file) {
  struct stat status{};
  if (groups_by_operators(policy).empty() || ::stat(file.c_str(), &status) != 0) return;
  if ((status.st_mode & (S_IROTH | S_IWOTH)) == 0) return;
  throw Error(Code::unsafe,
              "serve operators: everybody may read {}, and it names all tenants; chmod 600 it",
              file.native());
}

std::vector<std::string> operator_problems(const Policy& policy, const Path& file) {
  std::vector<std::string> problems;
  try {
    require_private(policy, file);
  } catch (const Error& error) {
    problems.push_back(on_one_line(error.what()));
  }
  for (const auto& [unix_group, groups] : groups_by_operators(policy)) {
    const auto gid = gid_of(unix_group);
    if (gid && *gid != 0) continue;
    problems.push_back(fmt::format("there is no Unix group {}, which is to have group{} {}",
                                   unix_group, groups.size() == 1 ? "" : "s",
                                   fmt::join(groups, ", ")));
  }
  return problems;
}

bool publish(const Options& options, const Policy& policy, const Report& whole) {
  require_private(policy, options.policy);
  const Path base = operators_folder(options);
  const auto all = groups_by_operators(policy);
  if (all.empty() && !std::filesystem::exists(base)) return true;
  make_folder(base);
  give_to(base, 0, for_who_knows_the_name);
  const FileLock one_at_a_time(base / ".lock");
  bool good = true;
  std::set<std::string> kept;
  for (const auto& [unix_group, groups] : all) {
    const auto gid = gid_of(unix_group);
    if (!gid || *gid == 0) {
      log::warning("there is no Unix group {}: nothing is published for it", unix_group);
      good = false;
      continue;
    }
    publish_to(base / unix_group, options, groups, *gid, whole);
    kept.insert(unix_group);
  }
  for (const auto& entry : std::filesystem::directory_iterator(base)) {
    if (entry.is_directory() && !kept.contains(entry.path().filename().native()))
      withdraw(entry.path());
  }
  return good;
}

std::optional<Report> published_report(const Options& options) {
  if (::geteuid() == 0) return std::nullopt;
  std::optional<Report> all;
  for (const std::string& unix_group : own_unix_groups()) {
    const auto text = read_published(options, unix_group, report_name);
    if (!text) continue;
    Report one = parse_published(*text, unix_group);
    if (all) {
      join(*all, std::move(one));
    } else {
      all = std::move(one);
    }
  }
  return all;
}

bool for_each_published_event(
    const Options& options,
    const std::function<void(const AuditRecord&, std::string_view)>& visit) {
  if (::geteuid() == 0) return false;
  std::vector<std::string> texts;
  for (const std::string& unix_group : own_unix_groups()) {
    if (auto text = read_published(options, unix_group, events_name))
      texts.push_back(*std::move(text));
  }
  // Of several groups: in the order in which they happened.
  std::map<std::uint64_t, std::string> lines;
  for (const std::string& text : texts) {
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view line = rest.substr(0, end);
      if (const auto record = audit::from_line(line)) lines[record->seq] = line;
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  for (const auto& [seq, line] : lines) {
    if (const auto record = audit::from_line(line)) visit(*record, line);
  }
  return !texts.empty();
}

}  // namespace volseal
