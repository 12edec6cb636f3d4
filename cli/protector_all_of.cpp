// volseal protector add fido2+passphrase ...: a way in that takes several parts.
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/protector.h"
#include "cli/recovery_print.h"
#include "cli/way_in.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/enroll/protectors.h"
#include "core/protect/all_of_token.h"
#include "core/protect/recovery_key.h"
#include "core/unlock/all_of.h"
#include "core/unlock/unlocker.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

namespace volseal {

namespace {

// The parts, the same for all volumes of one command, so that one touch and one line open them all.
struct NewParts {
  std::vector<Part> kinds;
  std::optional<Fido2Token> fido2;
  std::optional<GroupMaterial> tpm;
  PartSecrets secrets;

  bool has(Part part) const { return std::ranges::find(kinds, part) != kinds.end(); }
};

// FIDO2 keys that have the same part in the volumes already: twice is no spare key.
std::vector<Fido2Token> fido2_parts(const std::vector<Volume>& volumes,
                                    const std::vector<Part>& kinds) {
  std::vector<Fido2Token> parts;
  for (const Volume& volume : volumes) {
    for (const AllOfToken& token : find_all_of_tokens(volume)) {
      if (token.parts() == kinds && token.fido2) parts.push_back(*token.fido2);
    }
  }
  return parts;
}

NewParts new_parts(const ProtectorOptions& options, const std::vector<Volume>& volumes,
                   Groups& groups, Fido2& keys) {
  NewParts parts{.kinds = parse_parts(options.kind).value_or(std::vector<Part>{}),
                 .fido2 = {},
                 .tpm = {},
                 .secrets = {}};
  if (parts.has(Part::tpm)) {
    parts.tpm = groups.open(options.group);
    parts.secrets.emplace(Part::tpm, parts.tpm->secret.clone());
  }
  if (parts.has(Part::fido2)) {
    Fido2::Enrolled enrolled = new_fido2(options, volumes, fido2_parts(volumes, parts.kinds), keys);
    warn_of_old_key(enrolled.key);
    parts.fido2 = std::move(enrolled.token);
    parts.secrets.emplace(Part::fido2, std::move(enrolled.passphrase));
  }
  if (parts.has(Part::recovery_key)) parts.secrets.emplace(Part::recovery_key, new_recovery_key());
  if (parts.has(Part::passphrase)) parts.secrets.emplace(Part::passphrase, new_passphrase(options));
  return parts;
}

AllOfToken token_for(const Volume& volume, const NewParts& parts, const std::string& group) {
  AllOfToken token;
  const Secret salt = Secret::random(AllOfToken::salt_size);
  token.salt.assign(salt.bytes().begin(), salt.bytes().end());
  token.fido2 = parts.fido2;
  token.passphrase = parts.has(Part::passphrase);
  if (parts.tpm) {
    token.tpm = {.group = group,
                 .binding = binding_mac(parts.tpm->secret, volume.binding_text("full")),
                 .sealed = parts.tpm->sealed};
  }
  if (parts.has(Part::recovery_key)) {
    token.recovery_key =
        recovery_key_check(token, parts.secrets.at(Part::recovery_key), volume.uuid());
  }
  return token;
}

// The whole way: the token as it lies on the volume, what a person would type, the keyslot.
void prove_all_of(const Volume& volume, int slot, const NewParts& parts, Groups& groups,
                  Fido2& keys) {
  const AllOf::Ask typed = [&](const std::string& prompt) -> std::optional<Secret> {
    const Part part = prompt.starts_with("Passphrase") ? Part::passphrase : Part::recovery_key;
    return parts.secrets.at(part).clone();
  };
  AllOf person(keys, typed);
  Unlocker unlocker(groups.protector(), {});
  const Attempt attempt =
      unlocker.by_all_of({.device = volume.path(), .mapping = ""}, person, slot);
  if (attempt.outcome != Outcome::opened || attempt.keyslot != slot) {
    throw Error(Code::internal, "prove keyslot {} of {}: {}", slot, volume.path().native(),
                attempt.reason);
  }
}

void hand_over(const ProtectorOptions& options, const std::vector<Volume>& volumes,
               const NewParts& parts) {
  if (!parts.has(Part::recovery_key)) return;
  std::string others;
  for (const Part part : parts.kinds) {
    if (part == Part::recovery_key) continue;
    others += fmt::format("{}{}", others.empty() ? "" : " and ", to_string(part));
  }
  // One key for all volumes of the command, on a page for each.
  const bool page_each = options.page.folder.has_value();
  for (const Volume& volume : volumes) {
    show_new_recovery_key(options.page,
                          {.volume = volume.path().native(),
                           .luks_uuid = volume.uuid(),
                           .host = "",
                           .date = "",
                           .together_with = others},
                          parts.secrets.at(Part::recovery_key));
    if (!page_each) return;
  }
}

}  // namespace

void add_all_of_to(const ProtectorOptions& options, const Session& session) {
  const Policy policy = load_policy(session.options.policy);
  Groups groups(session.options, policy);
  Fido2 keys(person_at_terminal(options.pin_file));
  std::vector<Volume> volumes;
  std::vector<Secret> ways;
  for (const Path& path : options.volumes) {
    volumes.push_back(load_for_token(path, options.kind));
    ways.push_back(way_in(options.key_file, volumes.back(), groups, keys));
  }
  const NewParts parts = new_parts(options, volumes, groups, keys);
  const std::string kind = to_string(parts.kinds);
  std::vector<int> slots;
  try {
    for (std::size_t i = 0; i < volumes.size(); ++i) {
      Volume& volume = volumes[i];
      record_protector(session, "protector.add", "started", volume, kind);
      const AllOfToken token = token_for(volume, parts, options.group);
      slots.push_back(add_all_of(volume, &ways[i], token,
                                 all_of_passphrase(token, parts.secrets, volume.uuid())));
      prove_all_of(volume, slots.back(), parts, groups, keys);
    }
    hand_over(options, volumes, parts);
  } catch (...) {
    // A part that nobody has is a keyslot that nobody can use.
    for (std::size_t i = 0; i < slots.size(); ++i) remove_protector(volumes[i], slots[i]);
    throw;
  }
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    record_protector(session, "protector.add", "ok", volumes[i], kind);
    print_err("volseal: keyslot {} of {} opens with {}, all of them\n", slots[i],
              escaped(volumes[i].path().native()), kind);
  }
}

}  // namespace volseal
