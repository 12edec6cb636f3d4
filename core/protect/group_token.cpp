#include "core/base/error.h"
#include "core/protect/group_protector.h"
#include "core/protect/token_json.h"

namespace volseal {

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::opened: return "opened";
    case Outcome::wrong_secret: return "wrong-secret";
    case Outcome::needs_pin: return "needs-pin";
    case Outcome::wrong_pin: return "wrong-pin";
    case Outcome::locked_out: return "locked-out";
    case Outcome::policy_mismatch: return "policy-mismatch";
    case Outcome::revoked: return "revoked";
    case Outcome::not_mine: return "not-mine";
    case Outcome::damaged: return "damaged";
    case Outcome::forged: return "forged";
    case Outcome::tampered: return "tampered";
    case Outcome::unavailable: return "unavailable";
    case Outcome::no_key: return "no-key";
    case Outcome::pulled_out: return "pulled-out";
    case Outcome::no_touch: return "no-touch";
    case Outcome::no_pin: return "no-pin";
    case Outcome::pin_blocked: return "pin-blocked";
  }
  return "unavailable";
}

GroupToken parse_group_token(std::string_view text) {
  const TokenJson json(text, "volseal-tpm2");
  json.only({"type", "keyslots", "version", "group", "salt", "binding-scope", "binding",
             "known-keyslots", "sealed"});
  if (!json.is_one("version")) json.damaged("it is of a version that this program does not know");
  GroupToken token;
  token.keyslots = json.keyslots("keyslots");
  token.group = json.text("group", 64);
  token.salt = json.bytes("salt", 32, 32);
  token.binding_scope = json.text("binding-scope", 16);
  if (token.binding_scope != "full" && token.binding_scope != "reencrypt") {
    json.damaged("its binding has an unknown scope");
  }
  token.binding = json.bytes("binding", 32, 32);
  token.known_keyslots = json.keyslots("known-keyslots");
  token.sealed = json.object("sealed");
  return token;
}

std::string to_json(const GroupToken& token) {
  nlohmann::ordered_json root;
  root["type"] = "volseal-tpm2";
  root["keyslots"] = keyslots_json(token.keyslots);
  root["version"] = 1;
  root["group"] = token.group;
  root["salt"] = to_base64(token.salt);
  root["binding-scope"] = token.binding_scope;
  root["binding"] = to_base64(token.binding);
  root["known-keyslots"] = keyslots_json(token.known_keyslots);
  root["sealed"] = sealed_json(token.sealed);
  return token_text(root);
}

}  // namespace volseal
