#include "core/protect/escrow_token.h"

#include <nlohmann/json.hpp>

namespace volseal {

std::string escrow_token_json(const EscrowReceipt& receipt, int keyslot, const std::string& salt) {
  const nlohmann::ordered_json token = {{"type", "volseal-escrow"},
                                        {"keyslots", nlohmann::ordered_json::array()},
                                        {"version", 1},
                                        {"keyslot", std::to_string(keyslot)},
                                        {"keyslot-salt", salt},
                                        {"certificates", receipt.certificates},
                                        {"threshold", receipt.threshold},
                                        {"acknowledged", receipt.acknowledged},
                                        {"to", receipt.to},
                                        {"blob", receipt.blob}};
  return token.dump();
}

}  // namespace volseal
