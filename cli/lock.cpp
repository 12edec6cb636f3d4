// volseal lock: a group that nothing opens any more but people, with two factors.
#include "cli/lock.h"

#include "cli/exit_status.h"
#include "cli/hints.h"
#include "cli/lock_down.h"
#include "cli/lock_trigger.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "core/base/error.h"
#include "core/base/escape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct LockOptions {
  LockRequest request;
  bool keep_open = false;
  bool list = false;
  bool json = false;
  bool dry_run = false;
  bool yes = false;
  bool by_policy = false;
};

Json json_of(const LockNote& note) {
  return {{"group", to_valid_utf8(note.group)},
          {"since", note.since},
          {"by", to_valid_utf8(note.by)},
          {"reason", to_valid_utf8(note.reason)}};
}

Json json_of(const LockedVolume& volume) {
  Json ways = Json::array();
  for (const LockedWay& one : volume.ways) {
    ways.push_back({{"keyslot", one.way.keyslot},
                    {"kind", to_valid_utf8(one.way.kind)},
                    {"factors", one.way.factors},
                    {"drilled", one.drilled.empty() ? Json() : Json(one.drilled)}});
  }
  return {{"volume", to_valid_utf8(volume.path)},
          {"luks_uuid", to_valid_utf8(volume.luks_uuid)},
          {"mapping", to_valid_utf8(volume.mapping)},
          {"recovery", to_string(volume.recovery)},
          {"ways", std::move(ways)},
          {"tpm_keyslots", volume.tpm_keyslots}};
}

Json texts(const std::vector<std::string>& list) {
  Json json = Json::array();
  for (const std::string& text : list) json.push_back(to_valid_utf8(text));
  return json;
}

int list_locks(const LockOptions& options, const Path& state) {
  Json json = Json::array();
  std::string text;
  for (const std::string& group : locked_groups(state)) {
    const auto record = load_lock(state, group);
    if (!record) continue;
    Json one = json_of(record->note);
    one["trigger"] = record->trigger.empty() ? "person" : record->trigger;
    one["complete"] = record->complete;
    json.push_back(std::move(one));
    text += fmt::format("{}{}\n", escaped(to_text(record->note), 800),
                        record->complete ? "" : " (not all of it is done yet)");
  }
  if (text.empty()) text = "no group is locked\n";
  const Json all = {{"schema", "volseal-locks/1"}, {"locks", std::move(json)}};
  print_out(options.json ? all.dump(1) + "\n" : text);
  return exit_status::good;
}

std::string what_becomes_of(const LockedVolume& volume, const LockRequest& request) {
  if (volume.mapping.empty()) return "closed already";
  if (!request.closes) return fmt::format("stays open as {}", escaped(volume.mapping));
  if (volume.busy.empty()) return fmt::format("{} is closed", escaped(volume.mapping));
  return fmt::format("{} {}: {}", escaped(volume.mapping),
                     request.unmount ? "is put away and closed, if that goes" : "stays open, busy",
                     escaped(fmt::format("{}", fmt::join(volume.busy, "; ")), 800));
}

std::string preview(const LockAssessment& assessed, const LockRequest& request) {
  std::string text = fmt::format(
      "Locking group {}: the TPM opens nothing of it any more; only 'volseal recover', "
      "with two factors, does.\n",
      escaped(request.group));
  for (const LockedVolume& volume : assessed.plan.volumes) {
    text += fmt::format("  {}: {}\n", escaped(volume.path), what_becomes_of(volume, request));
    for (const LockedWay& one : volume.ways) {
      text += fmt::format(
          "    keyslot {:<2} {}, {} factor{}, {}\n", one.way.keyslot, escaped(one.way.kind),
          one.way.factors, one.way.factors == 1 ? "" : "s",
          one.drilled.empty() ? "never drilled" : "drilled " + escaped(one.drilled.substr(0, 10)));
    }
  }
  if (assessed.plan.volumes.empty()) text += "  none of its volumes is attached\n";
  for (const std::string& path : assessed.foreign)
    text +=
        fmt::format("  {}: of another machine's group of that name; left alone\n", escaped(path));
  for (const std::string& problem : assessed.problems) text += fmt::format("  BUT {}\n", problem);
  return text;
}

Json preview_json(const LockAssessment& assessed, const LockRequest& request, bool refused) {
  Json volumes = Json::array();
  for (const LockedVolume& volume : assessed.plan.volumes) {
    Json one = json_of(volume);
    one["state"] = volume.mapping.empty() ? "was-closed"
                   : !request.closes      ? "left-open"
                   : volume.busy.empty()  ? "closed"
                                          : "busy";
    one["busy"] = texts(volume.busy);
    volumes.push_back(std::move(one));
  }
  return {{"schema", "volseal-lock-result/1"},
          {"group", to_valid_utf8(request.group)},
          {"dry_run", true},
          {"refused", refused},
          {"volumes", std::move(volumes)},
          {"foreign", texts(assessed.foreign)},
          {"problems", texts(assessed.problems)}};
}

Json result_json(const LockedDown& done) {
  Json volumes = Json::array();
  for (const LockedDown::One& one : done.volumes) {
    Json json = json_of(one.volume);
    json["state"] = to_string(one.state);
    json["busy"] = texts(one.busy);
    json["problem"] = to_valid_utf8(one.problem);
    volumes.push_back(std::move(json));
  }
  Json json = {{"schema", "volseal-lock-result/1"}, {"dry_run", false}, {"refused", false}};
  json.update(json_of(done.record.note));
  json["complete"] = done.record.complete;
  json["volumes"] = std::move(volumes);
  json["foreign"] = texts(done.foreign);
  json["problems"] = texts(done.problems);
  return json;
}

std::string result_text(const LockedDown& done) {
  std::string text = escaped(to_text(done.record.note), 800) + "\n";
  for (const LockedDown::One& one : done.volumes) {
    const std::string name = escaped(one.volume.path);
    const std::string mapping = escaped(one.volume.mapping);
    switch (one.state) {
      case LockedDown::State::was_closed: text += fmt::format("  {}: was closed\n", name); break;
      case LockedDown::State::closed:
        text += fmt::format("  {}: {} is closed\n", name, mapping);
        break;
      case LockedDown::State::left_open:
        text += fmt::format("  {}: {} stays open\n", name, mapping);
        break;
      case LockedDown::State::busy:
        text += fmt::format("  {}: {} IS STILL OPEN: {}\n", name, mapping,
                            one.busy.empty()
                                ? "in use by something that cannot be seen"
                                : escaped(fmt::format("{}", fmt::join(one.busy, "; ")), 1600));
        break;
    }
  }
  for (const std::string& path : done.foreign)
    text +=
        fmt::format("  {}: of another machine's group of that name; left alone\n", escaped(path));
  return text;
}

// For the watch's unit: the policy decides whether, and the watch has said why.
int lock_by_policy(const LockOptions& options, const Session& session) {
  const std::string& group = options.request.group;
  const Path place = lock_reason_place(group);
  const auto reason = read_file_if_any(place);
  follow_tampering(session.options, group, reason.value_or("a sign of tampering"));
  std::error_code gone;
  std::filesystem::remove(place, gone);
  return exit_status::good;
}

int lock(const LockOptions& options, const Session& session) {
  if (options.list) return list_locks(options, session.options.state);
  if (options.by_policy) return lock_by_policy(options, session);
  LockRequest request = options.request;
  request.closes = !options.keep_open;
  if (request.group.empty()) throw Error(Code::usage, "lock: name a group, or say --list");
  if (request.unmount && !request.closes)
    throw Error(Code::usage, "lock: --unmount and --keep-open exclude each other");
  const bool begun = load_lock(session.options.state, request.group).has_value();
  const LockAssessment assessed = assess_lock(session.options, request);
  const bool refused =
      !begun && !assessed.problems.empty() && (!request.unproven || assessed.impossible);
  if (options.dry_run) {
    print_out(options.json ? preview_json(assessed, request, refused).dump(1) + "\n"
                           : preview(assessed, request));
    return refused ? exit_status::refused : exit_status::good;
  }
  // What was begun is not asked about again: it goes on.
  if (!begun && !refused && !options.yes) {
    print_err("{}", preview(assessed, request));
    if (!confirm("Lock it?"))
      throw Error(Code::usage, "lock: not confirmed; say --yes where there is no terminal");
  }
  const LockedDown done = lock_down(session.options, request);
  print_out(options.json ? result_json(done).dump(1) + "\n" : result_text(done));
  if (!done.problems.empty()) {
    for (const std::string& problem : done.problems)
      print_err("volseal: {}\n", on_one_line(problem));
    print_err("  the group is locked, but this is not done yet: run the same command again\n");
    return done.tpm_failed ? exit_status::tpm : exit_status::failed;
  }
  return done.all_closed() || options.keep_open ? exit_status::good : exit_status::warnings;
}

}  // namespace

void add_lock(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "lock", "something is wrong: a group that only people with two factors open from now on");
  const auto options = std::make_shared<LockOptions>();
  verb->add_option("GROUP", options->request.group, "the group of the policy, such as default");
  verb->add_option("VOLUME", options->request.more,
                   "image files of that group, besides what is found");
  verb->add_option("--reason", options->request.reason,
                   "why; it is logged, and told to who is refused");
  verb->add_flag("--dry-run", options->dry_run, "only say what would be locked, closed and busy");
  verb->add_flag("--keep-open", options->keep_open, "close nothing that is open");
  verb->add_flag("--unmount", options->request.unmount,
                 "unmount and swapoff first, as far as nobody uses it");
  verb->add_flag("--unproven", options->request.unproven,
                 "also where no drill has shown that two factors open every volume");
  verb->add_flag("--by-policy", options->by_policy,
                 "for the watch, which has found a sign of tampering: do what on_tamper says");
  verb->add_flag("--list", options->list,
                 "the groups that are locked, since when, by whom and why");
  verb->add_flag("--json", options->json, "as JSON");
  verb->add_flag("--yes", options->yes, "do not ask");
  verb->footer(
      "Exit status: 0 locked, 1 locked, and something busy is still open, 4 or 7 locked, and "
      "something\nis not done yet (7: the TPM), 5 refused.");
  verb->callback([options, &session] { session.status = lock(*options, session); });
}

}  // namespace volseal
