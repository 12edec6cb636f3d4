#include "cli/crypttab_source.h"

#include <algorithm>
#include <string_view>

namespace volseal {

std::optional<std::string> uuid_in(const std::string& source) {
  for (const std::string_view prefix : {"UUID=", "/dev/disk/by-uuid/"}) {
    if (source.starts_with(prefix)) return source.substr(prefix.size());
  }
  return std::nullopt;
}

bool is_source_of(const std::string& source, const Device& device) {
  if (const auto uuid = uuid_in(source)) return device.luks && device.luks->uuid == *uuid;
  return device.path == source || "/dev/" + device.name == source ||
         std::ranges::find(device.links, source) != device.links.end();
}

bool has_group_token(const Device& device) {
  return device.luks && std::ranges::any_of(device.luks->tokens, [](const Token& token) {
           return token.type == "volseal-tpm2";
         });
}

}  // namespace volseal
