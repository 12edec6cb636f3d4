#include "cli/drills.h"

#include "cli/world.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/drill/drill.h"
#include "core/luks/header.h"

#include <fmt/format.h>
#include <pwd.h>

#include <array>

namespace volseal {

std::string person_at_work() {
  const Actor actor = this_actor("drill");
  const std::uint32_t user = actor.loginuid.value_or(actor.uid);
  constexpr std::size_t room = 4096;
  std::array<char, room> text{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &entry, text.data(), text.size(), &found) == 0 && found != nullptr)
    return found->pw_name;
  return fmt::format("uid {}", user);
}

std::string who_is_at_work() {
  const Actor actor = this_actor("");
  if (!actor.loginuid && !actor.unit.empty()) return actor.unit;
  std::string who = person_at_work();
  if (!actor.tty.empty()) who += " on " + actor.tty;
  if (!actor.remote.empty()) who += " from " + actor.remote;
  return who;
}

void record_drill(const Options& options, std::string_view verb, const Path& volume,
                  const std::string& luks_uuid, const Way& way, Outcome outcome,
                  const std::string& reason) {
  const std::string now = utc_now();
  const bool opened = outcome == Outcome::opened;
  try {
    AuditLog(audit_log_of(options), verb)
        .record({.action = "drill",
                 .outcome = std::string(to_string(outcome)),
                 .volume = volume.native(),
                 .luks_uuid = luks_uuid,
                 .group = way.group,
                 .detail = {{"kind", way.kind},
                            {"keyslot", std::to_string(way.keyslot)},
                            {"reason", reason}}});
    note_drill(options.state, {.luks_uuid = luks_uuid,
                               .fingerprint = way.fingerprint,
                               .keyslot = way.keyslot,
                               .kind = way.kind,
                               .volume = volume.native(),
                               .opened = opened ? now : "",
                               .tried = now,
                               .outcome = std::string(to_string(outcome)),
                               .person = person_at_work()});
  } catch (const Error& error) {
    log::warning("the drill of {} was not noted: {}", escaped(volume.native()), error.what());
  }
}

void record_drill(const Options& options, std::string_view verb, const Path& volume, int keyslot,
                  Outcome outcome) {
  const auto header = read_header(volume);
  if (!header) return;
  for (const Way& way : ways_in(*header)) {
    if (way.keyslot == keyslot) record_drill(options, verb, volume, header->uuid, way, outcome, "");
  }
}

}  // namespace volseal
