#include "core/coverage/ways.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace volseal {

namespace {

constexpr const char* all_of = "volseal-all-of";

bool names(const Token& token, const Keyslot& slot) {
  return std::ranges::find(token.keyslots, slot.id) != token.keyslots.end();
}

std::string kind_of_token(const Token& token) {
  if (token.type == "volseal-tpm2") return "tpm";
  if (token.type == "systemd-recovery") return "recovery-key";
  if (token.type == "systemd-fido2") return "fido2";
  if (token.type == all_of) return fmt::format("{}", fmt::join(token.parts, "+"));
  return token.type;
}

int factors_of(const std::string& kind, bool two_factors) {
  return kind == "fido2" && two_factors ? 2 : 1;
}

int factors_of(const Token& token) {
  if (token.type != all_of) return factors_of(kind_of_token(token), token.two_factors);
  int factors = 0;
  for (const std::string& part : token.parts) factors += factors_of(part, token.two_factors);
  return factors;
}

// The TPM and whatever others' tokens stand for (clevis, systemd-tpm2) need nobody.
bool is_asked_for(const std::string& kind) {
  return kind == "fido2" || kind == "recovery-key" || kind == "passphrase";
}

bool asks_for(const Token& token) {
  if (token.type == all_of) return std::ranges::any_of(token.parts, is_asked_for);
  return is_asked_for(kind_of_token(token));
}

Way way_of(const LuksHeader& header, const Keyslot& slot) {
  Way way{.keyslot = slot.id,
          .kind = "passphrase",
          .stretch = slot.pbkdf,
          .group = "",
          .fingerprint = slot.fingerprint};
  for (const Token& token : header.tokens) {
    if (token.escrowed_keyslot == slot.id) way.escrowed = true;
    if (!names(token, slot)) continue;
    way.kind = kind_of_token(token);
    way.factors = factors_of(token);
    way.asks = asks_for(token);
    way.group = token.group;
    way.two_factors = token.two_factors;
  }
  if (way.escrowed && way.kind == "recovery-key") way.factors = 2;
  return way;
}

}  // namespace

std::vector<Way> ways_in(const LuksHeader& header) {
  std::vector<Way> ways;
  for (const Keyslot& slot : header.keyslots) {
    if (slot.type != "reencrypt") ways.push_back(way_of(header, slot));
  }
  return ways;
}

}  // namespace volseal
