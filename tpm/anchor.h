// What the TPM holds of the audit log: its lines and root hash at one moment, in an NV index.
//
// An ordinary index of 56 bytes that is written and read by its own auth value alone (32 random
// bytes, root-only on the encrypted root; Part 3, 31.7 and 31.13), noDA. The owner hierarchy can
// delete it and no more: a new one under the same handle does not know the auth value.
#pragma once

#include "core/base/base64.h"
#include "core/base/file.h"
#include "tpm/connection.h"

#include <array>
#include <cstdint>
#include <optional>

namespace volseal::tpm {

struct LogAnchor {
  std::uint64_t size = 0;  // lines
  std::array<std::uint8_t, 32> root{};
  std::array<std::uint8_t, 16> log{};  // the log's id

  bool operator==(const LogAnchor&) const = default;
};

enum class AnchorState {
  none,      // never made, or never written
  held,      // `anchor` says what
  gone,      // was made, and the TPM has it no more: deleted, TPM cleared, another TPM
  replaced,  // somebody made another one in its place
};

struct AnchorReading {
  AnchorState state = AnchorState::none;
  std::optional<LogAnchor> anchor;
};

// `folder`: where its handle and auth value are kept, root-only.
bool has_anchor(const Path& folder);
AnchorReading read_anchor(Connection& tpm, const Path& folder);
// Made where there never was one. One NV write. Throws Error{tampered} where it is gone or was
// replaced, Error{tpm_refused} where the owner hierarchy has a password.
void write_anchor(Connection& tpm, const Path& folder, const LogAnchor& anchor);
// Removes it where it is still there, and forgets it: the next write makes a new one.
void forget_anchor(Connection& tpm, const Path& folder);

}  // namespace volseal::tpm
