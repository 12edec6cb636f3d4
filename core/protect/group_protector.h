// What opens every volume of a group at once: one secret, sealed by hardware, recovered once a
// boot. tpm/ implements it; core/unlock and core/enroll know only this.
#pragma once

#include "core/base/base64.h"
#include "core/base/secret.h"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// How an attempt to open ended. Values, not errors: none of them is a surprise to the unlocker.
enum class Outcome {
  opened,
  wrong_secret,  // a key, passphrase or derived key that opens no keyslot
  needs_pin,     // a PIN is wanted and there was nobody to ask
  wrong_pin,
  locked_out,       // the TPM's dictionary-attack protection; retry_after says how long
  policy_mismatch,  // PCRs moved, or the latch is closed
  revoked,          // the approval is older than the TPM's revocation counter
  not_mine,         // sealed by another TPM
  damaged,          // a token or blob that is not whole, or that the TPM cannot use any more
  forged,           // approval or object that the group's policy key does not stand for
  tampered,         // the header is not the one that was bound
  unavailable,      // no TPM, or one that does not answer
  // Of FIDO2 keys. With those `locked_out` is until they were pulled out, `not_mine` a wrong key.
  no_key,       // none is plugged in
  pulled_out,   // while it was asked
  no_touch,     // not in time
  no_pin,       // none was ever set on it
  pin_blocked,  // for good: it has to be reset, and is another key then
};

std::string_view to_string(Outcome outcome);

// What the token of one volume says, as far as the stages above the TPM are concerned.
struct GroupToken {
  std::string group;
  std::vector<int> keyslots;
  Bytes salt;                       // 32 bytes, this volume's own
  std::string binding_scope;        // "full"; "reencrypt" while the volume is being encrypted
  Bytes binding;                    // HMAC-SHA256 over core/luks' binding text
  std::vector<int> known_keyslots;  // at enrollment: a keyslot more is a finding, not a locked door
  std::string sealed;  // JSON text, the same for every volume of the group; opaque up here
};

// Strict: unknown keys, wrong types and sizes throw Error{damaged}. At most 12 KiB of text.
GroupToken parse_group_token(std::string_view json);
std::string to_json(const GroupToken& token);

// HKDF-SHA256 (RFC 5869) over the group secret, design: "The TPM token".
// The passphrase of one volume's keyslot, 64 hexadecimal characters.
Secret keyslot_passphrase(const Secret& group_secret, std::string_view volume_uuid,
                          const Bytes& salt);
// The HMAC that binds a header to the group.
Bytes binding_mac(const Secret& group_secret, std::string_view binding_text);
bool equal_macs(const Bytes& left, const Bytes& right);  // in constant time

struct GroupKey {
  Outcome outcome = Outcome::unavailable;
  Secret secret;                        // 32 bytes, when opened
  std::string reason;                   // one sentence for people, when not
  std::optional<int> tries_left;        // wrong_pin, where the hardware says
  std::chrono::seconds retry_after{0};  // locked_out
};

// Asks for a PIN; nothing: nobody there, or given up.
using AskPin = std::function<std::optional<Secret>(const std::string& group)>;

class GroupProtector {
 public:
  GroupProtector() = default;
  GroupProtector(const GroupProtector&) = delete;
  GroupProtector& operator=(const GroupProtector&) = delete;
  GroupProtector(GroupProtector&&) = delete;
  GroupProtector& operator=(GroupProtector&&) = delete;
  virtual ~GroupProtector() = default;

  // Recovers the group secret from GroupToken::sealed. Never throws for what hardware may answer.
  virtual GroupKey recover(const std::string& sealed, const AskPin& ask_pin) = 0;
};

}  // namespace volseal
