// What the verbs under `volseal protector` share.
#pragma once

#include "cli/recovery_print.h"
#include "cli/verb.h"
#include "core/luks/volume.h"
#include "core/protect/fido2.h"

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
// The same where the kind is several parts.
void add_all_of_to(const ProtectorOptions& options, const Session& session);

// LUKS2, and nothing in it that is never opened. Throws Error{usage, tampered}.
Volume load_for_token(const Path& path, const std::string& kind);
// What every new FIDO2 key computes for these volumes: a new credential, or the one that volume
// --like has. A key that has a credential of `others` is enrolled already.
Fido2::Enrolled new_fido2(const ProtectorOptions& options, const std::vector<Volume>& volumes,
                          const std::vector<Fido2Token>& others, Fido2& keys);
// CTAP 2.0: a touch alone gets the secret.
void warn_of_old_key(const Fido2Key& key);
// From --new-key-file or asked for twice. Throws Error{usage} for fewer than 8 characters.
Secret new_passphrase(const ProtectorOptions& options);

}  // namespace volseal
