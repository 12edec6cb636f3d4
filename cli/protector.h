// What the verbs under `volseal protector` share.
#pragma once

#include "cli/recovery_print.h"
#include "cli/verb.h"
#include "core/luks/volume.h"

#include <optional>
#include <string>
#include <vector>

namespace volseal {

struct ProtectorOptions {
  std::string kind;
  Path volume;
  std::vector<Path> volumes;  // of fido2
  std::string group = "default";
  std::optional<Path> key_file;
  std::optional<Path> new_key_file;
  std::optional<Path> pin_file;
  std::optional<Path> like;
  std::string device;
  std::optional<int> keyslot;
  PageOptions page;
  std::optional<int> escrow_fd;
  bool json = false;
};

void record_protector(const Session& session, const std::string& action, const std::string& outcome,
                      const Volume& volume, const std::string& kind, const std::string& group = {});

// `volseal protector add`.
void add_protector_to(ProtectorOptions options, const Session& session);

}  // namespace volseal
