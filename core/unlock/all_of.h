// Ways in that take several parts (core/protect/all_of_token.h): asking for each, in their order.
#pragma once

#include "core/luks/volume.h"
#include "core/protect/all_of_token.h"
#include "core/protect/fido2.h"
#include "core/protect/group_protector.h"

#include <functional>
#include <optional>
#include <string>

namespace volseal {

struct Gathered {
  Outcome outcome = Outcome::opened;
  std::string reason;  // one sentence for people, where a part is missing or wrong
  Secret passphrase;   // the keyslot's, when opened: it may still be wrong, if a passphrase is
  PartSecrets secrets;
};

// One person with the parts, for all volumes of a run: what opened one is tried on the next before
// anything is asked for again.
class AllOf {
 public:
  // Nothing: nobody there, or given up.
  using Ask = std::function<std::optional<Secret>(const std::string& prompt)>;
  using KeyOf = std::function<const GroupKey&(const std::string& sealed)>;

  AllOf(Fido2& keys, Ask ask) : keys_(keys), ask_(std::move(ask)) {}

  // Stops at the first part that is not there or is wrong. Of a passphrase that shows only when
  // the keyslot does not open. May block as Fido2::open() and `ask` do.
  Gathered gather(const AllOfToken& token, const Volume& volume, const KeyOf& key_of);
  // The keyslot opened.
  void was_right(const Gathered& gathered);
  // It did not: true where that was a passphrase that nobody typed for this volume.
  bool forget_guess();

 private:
  struct Given {
    Outcome outcome = Outcome::opened;
    std::string reason;
    Secret secret;
  };
  Given give(Part part, const AllOfToken& token, const Volume& volume, const KeyOf& key_of);
  static Given tpm(const AllOfToken::Tpm& part, const Volume& volume, const KeyOf& key_of);
  Given fido2(const Fido2Token& part);
  Given recovery_key(const AllOfToken& token, const Bytes& check, const Volume& volume) const;
  Given passphrase(const AllOfToken& token, const Volume& volume);

  Fido2& keys_;
  Ask ask_;
  Secret recovery_key_;  // the last that was right
  Secret passphrase_;
  bool guessed_ = false;
};

}  // namespace volseal
