// volseal protector add|list|test|remove: what opens a volume.
#include "cli/protector.h"

#include "cli/attempt.h"
#include "cli/drills.h"
#include "cli/escrows.h"
#include "cli/exit_status.h"
#include "cli/operator_view.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "cli/way_in.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/coverage/drill_ages.h"
#include "core/coverage/ways.h"
#include "core/enroll/protectors.h"
#include "core/luks/header.h"
#include "core/luks/volume.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/all_of.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

LuksHeader header_of(const Path& volume) {
  if (!std::filesystem::exists(volume)) {
    throw Error(Code::not_found, "open {}: there is no such device or file", volume.native());
  }
  auto header = read_header(volume);
  if (!header)
    throw Error(Code::not_luks, "list the protectors of {}: it has no LUKS header",
                volume.native());
  return std::move(*header);
}

// What root has left of it for who is not root.
bool list_published(const ProtectorOptions& options, const Session& session) {
  const auto report = published_report(session.options);
  if (!report) return false;
  const auto& volumes = report->coverage.volumes;
  const auto volume = std::ranges::find_if(volumes, [&](const VolumeVerdict& one) {
    return one.path == options.volume.native() || one.luks_uuid == options.volume.native();
  });
  if (volume == volumes.end())
    throw Error(Code::not_found, "list the protectors of {}: no volume of yours",
                options.volume.native());
  if (options.json) {
    const Json json = {{"schema", "volseal-protectors/1"},
                       {"volume", to_valid_utf8(volume->path)},
                       {"luks_uuid", to_valid_utf8(volume->luks_uuid)},
                       {"tenant", to_valid_utf8(volume->tenant)},
                       {"environment", to_valid_utf8(volume->environment)},
                       {"kinds", volume->protectors},
                       {"as_of", report->coverage.taken_at}};
    print_out(json.dump(1, ' ', true) + "\n");
    return true;
  }
  std::string text = fmt::format("{} of {}, as root saw it on {}\n", escaped(volume->path),
                                 owner_words(volume->tenant, volume->environment),
                                 escaped(report->coverage.taken_at));
  for (const std::string& kind : volume->protectors) text += fmt::format("  {}\n", escaped(kind));
  for (const DrillAge& age : volume->drills) text += fmt::format("  {}\n", drill_words(age));
  print_out(text);
  return true;
}

void list(const ProtectorOptions& options, const Session& session) {
  if (list_published(options, session)) return;
  const LuksHeader header = header_of(options.volume);
  const auto protectors = ways_in(header);
  if (options.json) {
    Json json = {{"schema", "volseal-protectors/1"},
                 {"volume", to_valid_utf8(options.volume.native())},
                 {"luks_uuid", to_valid_utf8(header.uuid)},
                 {"damage", to_valid_utf8(header.damage)},
                 {"protectors", Json::array()}};
    for (const Way& entry : protectors) {
      json["protectors"].push_back({{"keyslot", entry.keyslot},
                                    {"kind", to_valid_utf8(entry.kind)},
                                    {"stretch", to_valid_utf8(entry.stretch)},
                                    {"group", to_valid_utf8(entry.group)},
                                    {"two_factors", entry.two_factors},
                                    {"factors", entry.factors}});
    }
    print_out(json.dump(1) + "\n");
    return;
  }
  std::string owner;
  for (const Way& entry : protectors) {
    if (entry.group.empty()) continue;
    const Group group = known_group(session.options, entry.group);
    owner = owner_words(group.tenant, group.environment);
  }
  std::string text =
      fmt::format("{}  LUKS{} {}{}{}\n", escaped(options.volume.native()), header.version,
                  escaped(header.uuid), owner.empty() ? "" : "  ", owner);
  if (!header.damage.empty()) text += fmt::format("  damaged: {}\n", escaped(header.damage));
  text += fmt::format("  {:7}  {:18}  {:7}  {:9}  {}\n", "KEYSLOT", "KIND", "FACTORS", "STRETCH",
                      "GROUP");
  for (const Way& entry : protectors) {
    text += fmt::format("  {:<7}  {:18}  {:<7}  {:9}  {}\n", entry.keyslot, escaped(entry.kind),
                        entry.factors, escaped(entry.stretch), escaped(entry.group));
  }
  print_out(text);
}

int test(const ProtectorOptions& options, const Session& session) {
  const Policy policy = load_policy(session.options.policy);
  Groups groups(session.options, policy);
  const auto protectors = ways_in(header_of(options.volume));
  const auto wanted = [&](const Way& entry) {
    return !options.keyslot || entry.keyslot == *options.keyslot;
  };
  if (std::ranges::none_of(protectors, wanted)) {
    throw Error(Code::not_found, "test {}: it has no such keyslot", options.volume.native());
  }
  // Without a secret the TPM or a FIDO2 key can be tried; with one, it is tried on every keyslot.
  Attempt attempt;
  const auto is_wanted = [&](const char* kind) {
    return !options.key_file && std::ranges::any_of(protectors, [&](const Way& entry) {
      return wanted(entry) && entry.kind == kind;
    });
  };
  // One that takes several parts; what is typed of them may come from the key file.
  const auto all_of = std::ranges::find_if(protectors, [&](const Way& entry) {
    return wanted(entry) && parse_parts(entry.kind) && (!options.key_file || options.keyslot);
  });
  const bool by_tpm = is_wanted("tpm");
  if (by_tpm) {
    Unlocker unlocker(groups.protector(), groups.ask_pin());
    attempt = unlocker.by_group({.device = options.volume, .mapping = ""});
  } else if (is_wanted("fido2")) {
    Fido2 keys(person_at_terminal(options.pin_file));
    attempt = Unlocker::by_fido2({.device = options.volume, .mapping = ""}, keys, options.keyslot);
  } else if (all_of != protectors.end()) {
    Fido2 keys(person_at_terminal(options.pin_file));
    AllOf parts(keys, [&](const std::string& prompt) {
      return options.key_file ? std::optional(read_secret(*options.key_file)) : ask_secret(prompt);
    });
    Unlocker unlocker(groups.protector(), groups.ask_pin());
    attempt = unlocker.by_all_of({.device = options.volume, .mapping = ""}, parts, all_of->keyslot);
  } else {
    const Secret given = existing_secret(options.key_file, escaped(options.volume.native()));
    attempt = Unlocker::by_secret({.device = options.volume, .mapping = ""}, given);
    if (attempt.outcome == Outcome::opened && options.keyslot &&
        attempt.keyslot != options.keyslot) {
      attempt.outcome = Outcome::wrong_secret;
      attempt.reason = fmt::format("it opens keyslot {}, not {}", attempt.keyslot.value_or(-1),
                                   *options.keyslot);
    }
  }
  AuditLog(audit_log_of(session.options), "protector")
      .record({.action = "protector.test",
               .outcome = std::string(to_string(attempt.outcome)),
               .volume = options.volume.native(),
               .luks_uuid = attempt.luks_uuid,
               .group = attempt.group,
               .detail = {{"kind", attempt.protector}}});
  if (attempt.outcome == Outcome::opened && attempt.keyslot)
    record_drill(session.options, "protector", options.volume, *attempt.keyslot, attempt.outcome);
  if (options.json) {
    const Json json = {{"schema", "volseal-attempt/1"},
                       {"volume", to_valid_utf8(options.volume.native())},
                       {"protector", attempt.protector},
                       {"outcome", to_string(attempt.outcome)},
                       {"reason", to_valid_utf8(attempt.reason)},
                       {"keyslot", attempt.keyslot ? Json(*attempt.keyslot) : Json()},
                       {"findings", attempt.findings},
                       {"milliseconds", attempt.took.count()}};
    print_out(json.dump(1) + "\n");
    return exit_status_for(attempt.outcome);
  }
  return report_attempt(attempt, "opens");
}

void remove(const ProtectorOptions& options, const Session& session) {
  const int keyslot = options.keyslot.value_or(-1);  // required by the command line
  Volume volume = Volume::load(options.volume);
  refuse_locked(volume);
  const auto protectors = ways_in(header_of(options.volume));
  const auto at = std::ranges::find(protectors, keyslot, &Way::keyslot);
  const std::string kind = at == protectors.end() ? "passphrase" : at->kind;
  // Removing the last way in that was proven to work would lock everybody out: what remains must be
  // shown to open, by somebody who has it.
  const Policy policy = load_policy(session.options.policy);
  Groups groups(session.options, policy);
  bool proven = false;
  if (kind != "tpm" && !options.key_file && find_group_token(volume)) {
    Unlocker unlocker(groups.protector(), groups.ask_pin());
    const Attempt attempt = unlocker.by_group({.device = options.volume, .mapping = ""});
    proven = attempt.outcome == Outcome::opened && attempt.keyslot != keyslot;
  }
  if (!proven) {
    Secret given =
        existing_secret(options.key_file, escaped(options.volume.native()) + " that stays");
    if (auto recovery = normalized_recovery_key(given)) given = std::move(*recovery);
    bool other = false;
    for (const int slot : volume.keyslots()) {
      if (slot != keyslot && volume.opens_with(given, slot)) other = true;
    }
    if (!other) {
      throw Error(Code::wrong_secret,
                  "remove keyslot {} of {}: what was given opens none of those that would stay",
                  keyslot, options.volume.native());
    }
  }
  record_protector(session, "protector.remove", "started", volume, kind);
  remove_protector(volume, keyslot);
  record_protector(session, "protector.remove", "ok", volume, kind);
  print_err("volseal: keyslot {} ({}) of {} is gone; header backups still hold it\n", keyslot, kind,
            escaped(options.volume.native()));
}

CLI::Validator kind_validator() {
  return {[](const std::string& kind) -> std::string {
            if (kind == "tpm" || kind == "fido2" || kind == "recovery-key" ||
                kind == "passphrase" || parse_parts(kind))
              return "";
            return kind +
                   " is none of tpm, fido2, recovery-key, passphrase, nor several of these "
                   "with + between them";
          },
          "KIND"};
}

}  // namespace

void add_protector(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("protector", "what opens a volume: add, list, test, remove");
  verb->require_subcommand(1);
  auto options = std::make_shared<ProtectorOptions>();
  const auto volume = [options](CLI::App* sub) {
    sub->add_option("VOLUME", options->volume, "block device or image file")->required();
  };
  const auto key_file = [options](CLI::App* sub) {
    sub->add_option(
        "--key-file", options->key_file,
        "file with a passphrase or recovery key that opens it now; - for standard input");
  };

  CLI::App* add_verb = verb->add_subcommand("add", "add a protector, proven before it counts");
  add_verb
      ->add_option("KIND", options->kind,
                   "tpm, fido2, recovery-key, passphrase, or several that open together, such as "
                   "fido2+passphrase")
      ->required()
      ->check(kind_validator());
  add_verb
      ->add_option("VOLUME", options->volumes,
                   "block device or image file; fido2 and several parts: all that they shall open")
      ->required();
  key_file(add_verb);
  add_verb->add_option("--new-key-file", options->new_key_file,
                       "passphrase: the new one, from a file");
  const auto pin_file = [options](CLI::App* sub) {
    sub->add_option("--pin-file", options->pin_file,
                    "the FIDO2 key's PIN, from a file; - for standard input");
  };
  pin_file(add_verb);
  add_verb->add_option("--device", options->device,
                       "fido2: the key to enroll, such as /dev/hidraw0, where there are several");
  add_verb->add_option("--like", options->like,
                       "fido2: share the credential of this volume, and its touch");
  add_verb
      ->add_option("--group", options->group,
                   "the group of the policy, where the volume does not say it")
      ->capture_default_str();
  add_page_options(*add_verb, options->page);
  add_escrow_fd(*add_verb, options->escrow_fd);
  add_verb->callback([options, &session] { add_protector_to(*options, session); });

  CLI::App* list_verb = verb->add_subcommand("list", "list what opens a volume");
  volume(list_verb);
  list_verb->add_flag("--json", options->json, "as JSON");
  list_verb->callback([options, &session] { list(*options, session); });

  CLI::App* test_verb = verb->add_subcommand("test", "open a keyslot without mapping the volume");
  volume(test_verb);
  key_file(test_verb);
  pin_file(test_verb);
  test_verb->add_option("--keyslot", options->keyslot, "only this one");
  test_verb->add_flag("--json", options->json, "as JSON");
  test_verb->callback([options, &session] { session.status = test(*options, session); });

  CLI::App* remove_verb =
      verb->add_subcommand("remove", "destroy a keyslot, once another one was shown to open");
  volume(remove_verb);
  key_file(remove_verb);
  remove_verb->add_option("--keyslot", options->keyslot, "the keyslot to destroy")->required();
  remove_verb->callback([options, &session] { remove(*options, session); });
}

}  // namespace volseal
