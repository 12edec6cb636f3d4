// What lies inside an escrow blob: a small JSON object, schema "volseal-escrow/1" (docs/escrow.md).
//
// It carries either the recovery key as it is, which is the LUKS passphrase, or one share of it.
#pragma once

#include "core/base/secret.h"

#include <optional>
#include <string>
#include <vector>

namespace volseal::escrow {

// Which share of which key. The digests tell a wrong share from the right ones; what they are taken
// over has 256 bits of entropy and more, so they tell nothing about it.
struct ShareOf {
  std::string set;  // 16 hexadecimal digits: the shares of one splitting have it in common
  int number = 0;   // 1 to `of`
  int of = 0;
  int threshold = 0;
  std::string key_digest;                  // of the recovery key
  std::vector<std::string> share_digests;  // of each share, in the order of their numbers

  bool operator==(const ShareOf&) const = default;
};

struct Content {
  std::string luks_uuid;
  std::string host;
  std::string group;
  std::string date;              // RFC 3339, UTC
  std::optional<ShareOf> share;  // nothing: `value` is the recovery key itself
  Secret value;
};

std::string digest_of_key(const std::string& luks_uuid, const Secret& key);
std::string digest_of_share(const std::string& luks_uuid, const ShareOf& share, int number,
                            const Secret& value);

Secret to_json(const Content& content);
// Strict: a member too many, too few or of the wrong kind, or more than 16 KiB, is
// Error{bad_blob}.
Content parse_content(const Secret& json);

}  // namespace volseal::escrow
