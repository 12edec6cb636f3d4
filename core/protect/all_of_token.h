// The LUKS2 token "volseal-all-of": a way in that takes several parts, all of them
// (docs/all-of.md).
//
// {"type":"volseal-all-of","keyslots":["3"],"version":1,"salt":BASE64,"parts":[
//   {"kind":"tpm","group":NAME,"binding":BASE64,"sealed":{...}},
//   {"kind":"fido2","fido2-credential":BASE64, ... as in systemd-fido2},
//   {"kind":"recovery-key","check":BASE64},
//   {"kind":"passphrase"}]}
//
// The parts stand in this order, each at most once, two at least. The keyslot's passphrase comes
// from the secrets of all of them; nothing in the token tells of a passphrase whether it is right,
// or it could be guessed without the other parts.
#pragma once

#include "core/protect/fido2_token.h"
#include "core/protect/group_protector.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

enum class Part { tpm, fido2, recovery_key, passphrase };  // in the order of their secrets

std::string_view to_string(Part part);
// "fido2+recovery-key", in any order, to the parts in theirs. Nothing: an unknown part, one that is
// there twice, or fewer than two.
std::optional<std::vector<Part>> parse_parts(std::string_view text);
std::string to_string(const std::vector<Part>& parts);

struct AllOfToken {
  static constexpr const char* type = "volseal-all-of";
  static constexpr std::size_t salt_size = 32;
  static constexpr std::size_t check_size = 16;

  struct Tpm {
    std::string group;
    Bytes binding;       // of the whole header, as GroupToken::binding with the scope "full"
    std::string sealed;  // as GroupToken::sealed
  };

  std::vector<int> keyslots;
  Bytes salt;  // 32 bytes, this token's own
  std::optional<Tpm> tpm;
  std::optional<Fido2Token> fido2;    // without keyslots
  std::optional<Bytes> recovery_key;  // its check: 256 random bits cannot be guessed by it
  bool passphrase = false;

  std::vector<Part> parts() const;
  // "fido2+recovery-key"
  std::string name() const { return to_string(parts()); }
};

// Strict: unknown members, wrong types and sizes throw Error{damaged}. At most 12 KiB of text.
AllOfToken parse_all_of_token(std::string_view json);
std::string to_json(const AllOfToken& token);

// What each part gives: the group's secret, the text that the FIDO2 key's secret is as a
// passphrase, the recovery key with its dashes, the passphrase.
using PartSecrets = std::map<Part, Secret>;

// The keyslot's passphrase, 64 hexadecimal characters. With HKDF-SHA256 (RFC 5869), salt: the
// token's:
//   K(part) = HKDF(secret, "volseal/all-of/part/1/" KIND "/" UUID), 32 bytes
//   passphrase = hex HKDF(K(first) || K(second) ..., "volseal/all-of/1/" NAME "/" UUID)
// Throws Error{internal} where a part is missing.
Secret all_of_passphrase(const AllOfToken& token, const PartSecrets& secrets,
                         std::string_view luks_uuid);
// AllOfToken::recovery_key: the first 16 bytes of HKDF(key, "volseal/all-of/check/1/" UUID).
Bytes recovery_key_check(const AllOfToken& token, const Secret& key, std::string_view luks_uuid);

}  // namespace volseal
