#include "cli/world.h"

#include "cli/prompt.h"
#include "core/base/escape.h"
#include "tpm/connection.h"
#include "tpm/group.h"
#include "tpm/protector.h"

#include <fmt/format.h>

namespace volseal {

AskPin pin_from_terminal() {
  return [](const std::string& group) {
    return ask_secret(fmt::format("PIN of group {}", escaped(group)));
  };
}

Groups::Groups(const Options& options, const Policy& policy)
    : options_(options),
      policy_(policy),
      protector_(std::make_unique<TpmGroupProtector>(options.tcti, tpm::ConnectOptions{},
                                                     options.state)) {}
Groups::~Groups() = default;

GroupMaterial Groups::open(const std::string& name) {
  auto at = opened_.find(name);
  if (at == opened_.end()) {
    // The connection lives for this call only: a TPM without a resource manager serves one at a
    // time.
    tpm::Connection connection = tpm::Connection::connect(options_.tcti);
    tpm::OpenedGroup group = tpm::open_or_create_group(
        connection, policy_.group(name), options_.state, {.ask_pin = pin_from_terminal()});
    at = opened_
             .emplace(name, GroupMaterial{.sealed = std::move(group.sealed),
                                          .secret = std::move(group.secret)})
             .first;
  }
  return {.sealed = at->second.sealed, .secret = at->second.secret.clone()};
}

Path audit_log_of(const Options& options) {
  return options.state / "audit.log";
}

}  // namespace volseal
