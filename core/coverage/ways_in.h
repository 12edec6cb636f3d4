// What a LUKS header says of who can open the volume, and of who keeps its recovery keys.
#pragma once

#include "core/coverage/coverage.h"

#include <string>
#include <vector>

namespace volseal {

// The keyslot is what opens; a token whose keyslots are gone opens nothing.
bool opens(const LuksHeader& header, const Token& token);
// The groups whose secret opens it, each once. More than one is a mistake, or somebody's doing.
std::vector<std::string> groups_of(const LuksHeader& header);
bool has_token(const LuksHeader& header, const Keyslot& slot);

// "tpm", "recovery-key", "fido2", "passphrase", and other tokens by their type.
std::vector<std::string> protectors_of(const LuksHeader& header);

// Of keyslots that are still those of the escrowed keys.
std::vector<EscrowRecord> escrows_of(const LuksHeader& header);

bool has(const std::vector<std::string>& list, const std::string& text);

}  // namespace volseal
