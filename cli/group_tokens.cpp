#include "cli/group_tokens.h"

#include "core/base/error.h"
#include "core/discover/discover.h"
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"
#include "tpm/sealed_group.h"

#include <algorithm>

namespace volseal {

namespace {

TokenSync sync_token(const Path& path, const std::string& group, const std::string& sealed) {
  TokenSync result{.volume = path, .changed = false, .foreign = false, .failure = {}};
  try {
    Volume volume = Volume::load(path);
    auto found = find_group_token(volume);
    if (!found || found->token.group != group) {
      result.foreign = true;
      result.failure = "it has no token of this group";
    } else if (found->token.sealed != sealed) {
      if (!tpm::same_group(sealed, found->token.sealed)) {
        result.foreign = true;
        result.failure = "it belongs to a group of another machine; it is left alone";
        return result;
      }
      if (!tpm::supersedes(sealed, found->token.sealed)) {
        result.failure = "its approval is newer than this machine's; it is left alone";
        return result;
      }
      found->token.sealed = sealed;
      volume.set_token(to_json(found->token), found->id);
      result.changed = true;
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
    const bool ours = std::ranges::any_of(device.luks->tokens, [&](const Token& token) {
      return token.type == "volseal-tpm2" && token.group == group;
    });
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

}  // namespace volseal
