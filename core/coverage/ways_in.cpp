#include "core/coverage/ways_in.h"

#include "core/base/escape.h"
#include "core/coverage/layers.h"
#include "core/coverage/ways.h"

#include <algorithm>

namespace volseal {

bool opens(const LuksHeader& header, const Token& token) {
  return std::ranges::any_of(header.keyslots, [&](const Keyslot& slot) {
    return slot.type != "reencrypt" &&
           std::ranges::find(token.keyslots, slot.id) != token.keyslots.end();
  });
}

std::vector<std::string> groups_of(const LuksHeader& header) {
  std::vector<std::string> groups;
  for (const Token& token : header.tokens) {
    if (!token.group.empty() && opens(header, token)) add_once(groups, token.group);
  }
  return groups;
}

bool has_token(const LuksHeader& header, const Keyslot& slot) {
  return std::ranges::any_of(header.tokens, [&](const Token& token) {
    return std::ranges::find(token.keyslots, slot.id) != token.keyslots.end();
  });
}

std::vector<std::string> protectors_of(const LuksHeader& header) {
  std::vector<std::string> protectors;
  for (const Way& way : ways_in(header)) add_once(protectors, escaped(way.kind));
  return protectors;
}

std::vector<EscrowRecord> escrows_of(const LuksHeader& header) {
  std::vector<EscrowRecord> escrows;
  for (const Token& token : header.tokens) {
    if (!token.escrowed_keyslot) continue;
    escrows.push_back({.keyslot = *token.escrowed_keyslot,
                       .certificates = token.certificates,
                       .threshold = token.threshold,
                       .acknowledged = token.acknowledged,
                       .to = token.escrowed_to});
  }
  return escrows;
}

bool has(const std::vector<std::string>& list, const std::string& text) {
  return std::ranges::find(list, text) != list.end();
}

}  // namespace volseal
