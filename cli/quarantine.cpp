// volseal quarantine: what the watch keeps from everybody, and giving it back.
#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/audit/audit.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"
#include "core/deny/deny.h"
#include "core/watch/book.h"
#include "core/watch/sysfs_acts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct QuarantineOptions {
  bool json = false;
  std::string device;
  std::string reason;
};

constexpr std::string_view block_folder = "/sys/class/block";

// As the kernel has it; nothing where it is gone.
std::optional<DeviceNumber> number_of(const std::string& name) {
  const std::string text = read_file_if_any(Path(block_folder) / name / "dev", 64).value_or("");
  const char* const end = text.data() + text.size();
  DeviceNumber number;
  const auto major = std::from_chars(text.data(), end, number.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != ':') return std::nullopt;
  const auto minor = std::from_chars(major.ptr + 1, end, number.minor);
  if (minor.ec != std::errc()) return std::nullopt;
  return number;
}

// In words for people: what keeps it.
std::string keepers_of(const Held& held, bool watched, const Denied& denied) {
  std::string text = "read-only";
  if (watched) text += ", claimed";
  const auto number = number_of(held.id.name);
  if (number && denied.numbers.contains(*number))
    text += fmt::format(", denied by the kernel ({})", fmt::join(denied.by, ", "));
  return text;
}

int list_quarantine(const QuarantineOptions& options) {
  const std::vector<Held> all = Book().held();
  const Denied denied = what_is_denied();
  const bool watched = FileLock::holder(Book().lock()).has_value();
  if (options.json) {
    Json list = Json::array();
    for (const Held& held : all) {
      Json one = Json::parse(to_json(held));
      const auto number = number_of(held.id.name);
      one["denied"] = number && denied.numbers.contains(*number);
      list.push_back(std::move(one));
    }
    const Json json = {{"schema", "volseal-quarantines/1"},
                       {"watched", watched},
                       {"denied_by", denied.by},
                       {"devices", std::move(list)}};
    print_out(json.dump(1, ' ', true) + "\n");
    return exit_status::good;
  }
  std::string text;
  for (const Held& held : all) {
    text += fmt::format("{}  since {}  {}{}  {}\n  {}\n", escaped(held.path), escaped(held.since),
                        held.rule.empty() ? "" : "rule " + escaped(held.rule) + ": ",
                        escaped(held.reason, 200), escaped(held.from, 200),
                        keepers_of(held, watched, denied));
  }
  if (all.empty()) text = "nothing is in quarantine\n";
  if (!all.empty() && !watched && denied.by.empty())
    text += "no watch runs: they are read-only, and nothing keeps them from being mounted\n";
  else if (!all.empty() && !watched)
    text += "no watch runs: nobody looks after what is plugged in now\n";
  print_out(text);
  return exit_status::good;
}

const Held& find_held(const std::vector<Held>& all, const std::string& device) {
  // /dev/disk/by-id/... names it as well.
  std::error_code error;
  const Path node = std::filesystem::canonical(device, error);
  for (const Held& held : all) {
    if (held.path == device || held.id.name == device || "/dev/" + held.id.name == device ||
        (!error && node == Path("/dev/" + held.id.name))) {
      return held;
    }
  }
  throw Error(Code::not_found, "release {}: it is not in quarantine", escaped(device));
}

std::string who_of(const Actor& actor) {
  std::string who = actor.loginuid ? fmt::format("login uid {}", *actor.loginuid)
                                   : fmt::format("uid {}", actor.uid);
  if (!actor.tty.empty()) who += " on " + actor.tty;
  if (!actor.remote.empty()) who += " from " + actor.remote;
  return who;
}

// Without a watch nobody else does it.
void give_back(const Book& book, const Held& held) {
  ClaimJob job{.id = held.id, .node = "/dev/" + held.id.name};
  const Path folder = Path(block_folder) / held.id.name;
  std::vector<std::string> names = {held.id.name};
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    if (!std::filesystem::exists(at->path() / "partition")) continue;
    names.emplace_back(at->path().filename().native());
    job.parts.emplace_back("/dev/" + names.back());
  }
  std::set<DeviceNumber> numbers;
  for (const std::string& name : names) {
    if (const auto number = number_of(name)) numbers.insert(*number);
  }
  allow_again(numbers);
  if (const std::string problem = make_writable(job); !problem.empty())
    throw Error(Code::io, "release {}: {}", escaped(held.path), problem);
  book.clear(held.id);
  book.forget(held.id);
  for (const std::string& name : names) announce("/sys", name, "add");
}

int release(const QuarantineOptions& options, const Session& session) {
  if (options.reason.find_first_not_of(" \t") == std::string::npos)
    throw Error(Code::usage, "quarantine release: --reason must say why");
  const Book book;
  const std::vector<Held> all = book.held();
  const Held& held = find_held(all, options.device);
  const AuditLog log(audit_log_of(session.options), "quarantine");
  const std::string who = who_of(this_actor("quarantine"));
  // Nothing is released that nobody can be asked about.
  log.record({.action = "quarantine.release",
              .outcome = std::string(audit_started),
              .volume = held.path,
              .detail = {{"reason", options.reason},
                         {"rule", held.rule},
                         {"from", held.from},
                         {"diskseq", std::to_string(held.id.diskseq)}}});
  book.release(held.id, {.reason = options.reason, .who = who, .when = utc_now()});
  if (!FileLock::holder(book.lock())) {
    give_back(book, held);
  } else {
    constexpr std::chrono::seconds longest(30);
    constexpr std::chrono::milliseconds pause(20);
    const auto due = std::chrono::steady_clock::now() + longest;
    while (book.is_held(held.id)) {
      if (std::chrono::steady_clock::now() > due)
        throw Error(Code::busy, "release {}: the watch has not let go of it yet",
                    escaped(held.path));
      std::this_thread::sleep_for(pause);
    }
  }
  log.record(
      {.action = "quarantine.release",
       .volume = held.path,
       .detail = {{"reason", options.reason}, {"diskseq", std::to_string(held.id.diskseq)}}});
  print_out(fmt::format("{} is released until it is unplugged or the machine restarts\n",
                        escaped(held.path)));
  return exit_status::good;
}

}  // namespace

void add_quarantine(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("quarantine", "what the watch keeps from everybody");
  verb->require_subcommand(1);
  auto options = std::make_shared<QuarantineOptions>();
  CLI::App* list = verb->add_subcommand("list", "what is in quarantine, since when and why");
  list->add_flag("--json", options->json, "as JSON (schema volseal-quarantines/1)");
  list->callback([options, &session] { session.status = list_quarantine(*options); });
  CLI::App* free = verb->add_subcommand("release", "give one back, for this boot");
  free->add_option("DEVICE", options->device, "its node, name or link")->required();
  free->add_option("--reason", options->reason, "why; it is logged with who did it")->required();
  free->callback([options, &session] { session.status = release(*options, session); });
}

}  // namespace volseal
