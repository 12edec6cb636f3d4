// The tokens of a group's volumes, and bringing them up to date with the group's master copy.
#pragma once

#include "cli/verb.h"
#include "core/base/file.h"
#include "tpm/approval.h"

#include <string>
#include <vector>

namespace volseal {

struct TokenSync {
  Path volume;
  bool changed = false;
  bool foreign = false;  // no volume of this machine's group: left alone
  std::string failure;   // "" where the token is now the wanted one
};

// Every attached volume with a token of `group`, and `more` (image files, or devices named by
// hand).
std::vector<Path> volumes_of_group(const std::string& group, const std::vector<Path>& more);

// Writes `sealed` into the token of each of `volumes`, where it may take the place of what is
// there: a volume of another machine's group of the same name is left alone and reported. Each
// write is atomic.
std::vector<TokenSync> sync_tokens(const std::vector<Path>& volumes, const std::string& group,
                                   const std::string& sealed);

// As sync_tokens() for all volumes of the group, with words for the person; false where one of ours
// could not be written.
bool sync_group(const std::string& group, const std::vector<Path>& more, const std::string& sealed);

// This boot's measurements are approved, and logged; false where a volume did not get the approval.
// Throws as tpm::approve_state().
bool approve_boot(const Options& options, const std::string& group, const std::vector<Path>& more,
                  const tpm::ApproveOptions& how);

}  // namespace volseal
