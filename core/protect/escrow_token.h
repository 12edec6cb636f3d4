// The LUKS2 token "volseal-escrow": which keyslot's recovery key lies in escrow, with whom.
//
// {"type":"volseal-escrow","keyslots":[],"version":1,"keyslot":"0","keyslot-salt":BASE64,
//  "certificates":[SHA-256 HEX
//  ...],"threshold":1,"acknowledged":RFC3339,"to":"directory","blob":NAME}
//
// It names no keyslot in "keyslots": that keyslot is systemd-recovery's, and other tools expect one
// token a keyslot. The salt of the keyslot ties it to the key that was escrowed, so that it says
// nothing of another key that later gets a keyslot of that number. It opens nothing and no secret
// is in it; whoever can write the header can write it, so it is a record and no proof: 'volseal
// escrow verify' proves. core/luks/header.h reads it into the device graph.
#pragma once

#include <string>
#include <vector>

namespace volseal {

inline constexpr const char* escrow_token_type = "volseal-escrow";

// What an escrow acknowledged.
struct EscrowReceipt {
  std::vector<std::string> certificates;  // SHA-256, hexadecimal
  int threshold = 1;                      // how many of them open it together
  std::string acknowledged;               // RFC 3339, UTC
  std::string to;                         // "directory", "command", "descriptor"
  std::string blob;                       // what the blobs' names begin with
};

std::string escrow_token_json(const EscrowReceipt& receipt, int keyslot, const std::string& salt);

}  // namespace volseal
