#include "cli/recover_used.h"

#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/coverage/ways.h"
#include "core/luks/header.h"
#include "core/unlock/boot_report.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

namespace volseal {

namespace {

// One file a volume whose key was replaced in this boot.
constexpr const char* done_folder = "/run/volseal/replaced";

Path done_file(const Attempt& attempt) {
  return Path(done_folder) / attempt.luks_uuid;
}

class UsedKeys {
 public:
  UsedKeys(const NewKeyTo& new_key, const Session& session)
      : policy_(load_policy(session.options.policy)),
        groups_(session.options, policy_),
        unlocker_(groups_.protector(), {}),
        replacer_(session, policy_, new_key) {}

  // Whether that key opens nothing any more.
  bool replace(const Attempt& typed) {
    // The header is the one that the group was bound to, or the TPM's way in is not taken.
    CheckedVolume checked = unlocker_.check({.device = typed.device, .mapping = ""});
    if (!checked.may_open() || !checked.volume)
      return say_that_it_stays(typed, checked.attempt.reason);
    Volume& volume = *checked.volume;
    replacer_.finish(volume);
    // The device may bear another volume by now.
    if (volume.uuid() != typed.luks_uuid) return true;
    // Gone: a cut had left that much of an earlier run.
    if (is_recovery_key(volume, typed.keyslot) && !replace_by_group(checked, volume, typed))
      return false;
    make_folder(done_folder);
    write_file(done_file(typed), "");
    return true;
  }

 private:
  bool replace_by_group(CheckedVolume& checked, Volume& volume, const Attempt& typed) {
    OpenedBy by_group;
    by_group.attempt = typed;
    by_group.passphrase = std::move(checked.passphrase);
    try {
      replacer_.replace(volume, by_group, checked.attempt.group);
    } catch (const Error& error) {
      return say_that_it_stays(typed, error.what());
    }
    return true;
  }

  static bool say_that_it_stays(const Attempt& typed, std::string_view why) {
    print_err(
        "volseal: the recovery key of {0} was used, and stays: {1}; a new one is made by "
        "'volseal recover --replace {0}'\n",
        escaped(typed.device.native()), escaped(why, 512));
    return false;
  }

  static bool is_recovery_key(const Volume& volume, const std::optional<int>& keyslot) {
    const auto header = read_header(volume.path());
    return header && std::ranges::any_of(ways_in(*header), [&](const Way& way) {
             return way.keyslot == keyslot && way.kind == "recovery-key";
           });
  }

  Policy policy_;
  Groups groups_;
  Unlocker unlocker_;
  KeyReplacer replacer_;
};

}  // namespace

bool key_stays(const Attempt& attempt) {
  return attempt.outcome == Outcome::opened &&
         attempt.protector.find("recovery-key") != std::string::npos &&
         !std::filesystem::exists(done_file(attempt));
}

int replace_used(const NewKeyTo& new_key, const Session& session) {
  const auto report = read_boot_report();
  if (!report) return exit_status::good;
  std::optional<UsedKeys> keys;
  int status = exit_status::good;
  for (const Attempt& attempt : report->attempts) {
    // One of several parts is replaced with the other parts at hand only.
    if (!key_stays(attempt) || attempt.protector != "recovery-key") continue;
    if (!keys) keys.emplace(new_key, session);
    if (!keys->replace(attempt)) status = exit_status::warnings;
  }
  return status;
}

}  // namespace volseal
