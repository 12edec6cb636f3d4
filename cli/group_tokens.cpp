#include "cli/group_tokens.h"

#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/discover/discover.h"
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"
#include "tpm/connection.h"
#include "tpm/sealed_group.h"

#include <algorithm>

namespace volseal {

namespace {

// True where `held` is now `sealed`, and is to be written; the result says why not.
bool may_replace(TokenSync& result, std::string& held, const std::string& sealed) {
  if (held == sealed) return false;
  if (!tpm::same_group(sealed, held)) {
    result.foreign = true;
    result.failure = "it belongs to a group of another machine; it is left alone";
    return false;
  }
  if (!tpm::supersedes(sealed, held)) {
    result.failure = "its approval is newer than this machine's; it is left alone";
    return false;
  }
  held = sealed;
  return true;
}

TokenSync sync_token(const Path& path, const std::string& group, const std::string& sealed) {
  TokenSync result{.volume = path, .changed = false, .foreign = false, .failure = {}};
  bool found = false;
  const auto sync = [&](Volume& volume, const auto& token, std::string& held, int id) {
    found = true;
    if (!may_replace(result, held, sealed)) return;
    volume.set_token(to_json(token), id);
    result.changed = true;
  };
  try {
    Volume volume = Volume::load(path);
    if (auto whole = find_group_token(volume); whole && whole->token.group == group)
      sync(volume, whole->token, whole->token.sealed, whole->id);
    for (const VolumeToken& part : volume.tokens()) {
      if (part.type != AllOfToken::type) continue;
      AllOfToken token = parse_all_of_token(part.json);
      if (token.tpm && token.tpm->group == group) sync(volume, token, token.tpm->sealed, part.id);
    }
    if (!found) {
      result.foreign = true;
      result.failure = "it has no token of this group";
    }
  } catch (const Error& error) {
    result.failure = error.what();
  }
  return result;
}

}  // namespace

std::vector<Path> volumes_of_group(const std::string& group, const std::vector<Path>& more) {
  std::vector<Path> volumes;
  for (const Device& device : scan().devices) {
    if (!device.luks) continue;
    const bool ours = std::ranges::any_of(device.luks->tokens,
                                          [&](const Token& token) { return token.group == group; });
    if (ours) volumes.emplace_back(device.path);
  }
  for (const Path& path : more) {
    if (std::ranges::find(volumes, path) == volumes.end()) volumes.push_back(path);
  }
  return volumes;
}

std::vector<TokenSync> sync_tokens(const std::vector<Path>& volumes, const std::string& group,
                                   const std::string& sealed) {
  std::vector<TokenSync> results;
  results.reserve(volumes.size());
  for (const Path& volume : volumes) results.push_back(sync_token(volume, group, sealed));
  return results;
}

bool sync_group(const std::string& group, const std::vector<Path>& more,
                const std::string& sealed) {
  bool good = true;
  std::size_t changed = 0;
  const auto results = sync_tokens(volumes_of_group(group, more), group, sealed);
  for (const TokenSync& result : results) {
    changed += result.changed ? 1 : 0;
    if (result.failure.empty()) continue;
    good &= result.foreign;
    log::warning("the token of {} was not updated: {}", escaped(result.volume.native()),
                 escaped(result.failure, 512));
  }
  log::note("group {}: {} of {} volumes updated", group, changed, results.size());
  return good;
}

bool approve_boot(const Options& options, const std::string& group, const std::vector<Path>& more,
                  const tpm::ApproveOptions& how) {
  const AuditLog audit(audit_log_of(options), "tpm");
  audit.record({.action = "tpm.approve", .outcome = std::string(audit_started), .group = group});
  std::string sealed;
  {
    tpm::Connection connection = tpm::Connection::connect(options.tcti);
    sealed = tpm::approve_state(connection, tpm::GroupState(options.state, group), how);
  }
  const bool good = sync_group(group, more, sealed);
  audit.record({.action = "tpm.approve", .outcome = good ? "ok" : "failed", .group = group});
  log::note("{}: this boot's measurements are approved", named_group(options, group));
  return good;
}

}  // namespace volseal
