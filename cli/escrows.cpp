#include "cli/escrows.h"

#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace volseal {

namespace {

std::string what_of(const EscrowPolicy& policy, std::optional<int> descriptor) {
  if (descriptor) return fmt::format("descriptor {}", *descriptor);
  return policy.command.empty() ? "directory " + policy.directory.native()
                                : "command " + policy.command.front();
}

}  // namespace

void add_escrow_fd(CLI::App& verb, std::optional<int>& descriptor) {
  constexpr int first = 3;
  constexpr int last = 1 << 20;
  verb.add_option("--escrow-fd", descriptor,
                  "write what goes into escrow to this descriptor instead of where the policy says")
      ->type_name("N")
      ->check(CLI::Range(first, last));
}

Escrows::Escrows(const Policy& policy, const AuditLog& audit, std::optional<int> descriptor)
    : policy_(policy), audit_(audit), descriptor_(descriptor) {
  // Not for the programs that we run.
  if (descriptor_ && ::fcntl(*descriptor_, F_SETFD, FD_CLOEXEC) != 0) {
    throw Error(Code::usage, "escrow to descriptor {}: it is not open", *descriptor_);
  }
}

const EscrowPolicy* Escrows::find(const std::string& group) const {
  const auto at = std::ranges::find(policy_.groups, group, &Group::name);
  if (at == policy_.groups.end()) return nullptr;
  const Group& found = *at;
  return found.escrow ? &*found.escrow : nullptr;
}

bool Escrows::keeps(const std::string& group) const {
  return find(group) != nullptr;
}

bool Escrows::shows(const std::string& group) const {
  const EscrowPolicy* policy = find(group);
  return policy != nullptr && policy->show;
}

const escrow::Escrow& Escrows::ready(const std::string& group) {
  const auto at = ready_.find(group);
  if (at != ready_.end()) return at->second;
  const EscrowPolicy* policy = find(group);
  if (policy == nullptr) {
    throw Error(Code::escrow_refused,
                "escrow a recovery key: the policy has no escrow for group {}", escaped(group));
  }
  const auto& made =
      ready_.emplace(group, escrow::Escrow(*policy, std::time(nullptr), descriptor_)).first->second;
  for (const escrow::Certificate& certificate : made.certificates()) {
    for (const std::string& warning : certificate.warnings) {
      log::warning("the certificate {}: {}", escaped(certificate.file.native()), warning);
    }
  }
  return made;
}

void Escrows::require_ready(const std::string& group) {
  if (keeps(group)) ready(group);
}

EscrowReceipt Escrows::deposit(const std::string& group, const std::string& volume,
                               const std::string& luks_uuid, const Secret& key) {
  const escrow::Escrow& escrow = ready(group);
  const EscrowPolicy& policy = *find(group);
  Event event{.action = "escrow.deposit",
              .outcome = std::string(audit_started),
              .volume = volume,
              .luks_uuid = luks_uuid,
              .group = group,
              .detail = {{"to", what_of(policy, descriptor_)},
                         {"threshold", std::to_string(policy.threshold)}}};
  int number = 0;
  for (const escrow::Certificate& certificate : escrow.certificates()) {
    event.detail[fmt::format("certificate.{}", ++number)] = certificate.fingerprint;
  }
  audit_.record(event);
  try {
    EscrowReceipt receipt =
        escrow.deposit({.luks_uuid = luks_uuid, .host = host_name(), .group = group}, key);
    event.outcome = "ok";
    event.detail["blob"] = receipt.blob;
    audit_.record(event);
    return receipt;
  } catch (const Error& error) {
    event.outcome = "failed";
    event.detail["error"] = error.what();
    audit_.record(event);
    throw;
  }
}

}  // namespace volseal
