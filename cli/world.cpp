#include "cli/world.h"

#include "cli/output.h"
#include "cli/prompt.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/lock/record.h"
#include "tpm/connection.h"
#include "tpm/group.h"
#include "tpm/protector.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <optional>
#include <utility>

namespace volseal {

namespace {

class WithKnownPins final : public GroupProtector {
 public:
  WithKnownPins(const std::map<std::string, Secret>& pins, std::unique_ptr<GroupProtector> hardware)
      : pins_(pins), hardware_(std::move(hardware)) {}

  GroupKey recover(const std::string& sealed, const AskPin& ask_pin) override {
    const AskPin known = [&](const std::string& group) {
      const auto pin = pins_.find(group);
      return pin == pins_.end() ? std::nullopt : std::optional(pin->second.clone());
    };
    return hardware_->recover(sealed, ask_pin ? ask_pin : known);
  }

 private:
  const std::map<std::string, Secret>& pins_;
  std::unique_ptr<GroupProtector> hardware_;
};

// The device, or one that it lies on, is a dm-crypt mapping.
bool is_encrypted(const Path& sys, const std::string& number, int depth) {
  const Path device = sys / "dev/block" / number;
  const auto uuid = read_file_if_any(device / "dm/uuid");
  if (uuid && uuid->starts_with("CRYPT-")) return true;
  std::error_code none;
  if (depth == 0) return false;
  for (std::filesystem::directory_iterator at(device / "slaves", none), end; !none && at != end;
       at.increment(none)) {
    const auto lower = read_file_if_any(at->path() / "dev");
    if (lower && is_encrypted(sys, lower->substr(0, lower->find('\n')), depth - 1)) return true;
  }
  return false;
}

// A late copy's auth value must lie where a thief cannot read it. What cannot be told, such as a
// file system over several devices, counts as plain.
bool is_encrypted(const Path& folder) {
  constexpr int most_layers = 8;
  struct stat status{};
  Path at = std::filesystem::absolute(folder);
  while (::stat(at.c_str(), &status) != 0 && at != at.root_path()) at = at.parent_path();
  return is_encrypted("/sys", fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev)),
                      most_layers);
}

}  // namespace

Group known_group(const Options& options, const std::string& name) {
  try {
    const Policy policy = load_policy(options.policy);
    const auto found = std::ranges::find(policy.groups, name, &Group::name);
    if (found != policy.groups.end()) return *found;
  } catch (const Error& error) {
    log::detail("whose group {} is, is not known: {}", name, error.what());
  }
  return {.name = name};
}

std::string named_group(const Options& options, const std::string& name) {
  return group_words(known_group(options, name));
}

std::string named_volume(const Options& options, const Path& volume, const std::string& group) {
  const Group known = known_group(options, group);
  const std::string owner = owner_words(known.tenant, known.environment);
  return fmt::format("{}{}{}", escaped(volume.native()), owner.empty() ? "" : " of ", owner);
}

AskPin pin_from_terminal(const Options& options) {
  return [options](const std::string& group) {
    return ask_secret(fmt::format("PIN of {}", named_group(options, group)));
  };
}

Fido2Person person_at_terminal(const std::optional<Path>& pin_file) {
  return {.ask_pin = [pin_file](const std::string& prompt, int tried) -> std::optional<Secret> {
            if (!pin_file) return ask_secret(prompt);
            // What was wrong once is wrong again, and costs a try.
            return tried == 0 ? std::optional(read_secret(*pin_file)) : std::nullopt;
          },
          .tell = [](const std::string& text) { print_err("volseal: {}\n", text); }};
}

Groups::Groups(const Options& options, const Policy& policy)
    : options_(options),
      policy_(policy),
      protector_(std::make_unique<WithKnownPins>(
          pins_, std::make_unique<TpmGroupProtector>(options.tcti, tpm::ConnectOptions{},
                                                     options.state))) {}
Groups::~Groups() = default;

GroupMaterial Groups::open(const std::string& name) {
  auto at = opened_.find(name);
  if (at == opened_.end()) {
    refuse_locked(options_.state, name, "open group " + escaped(name));
    // The connection lives for this call only: a TPM without a resource manager serves one at a
    // time.
    tpm::Connection connection = tpm::Connection::connect(options_.tcti);
    std::optional<Secret> pin;
    const AskPin ask_pin = [&](const std::string& asked) {
      pin = pin_from_terminal(options_)(asked);
      return pin ? std::optional(pin->clone()) : std::nullopt;
    };
    tpm::OpenedGroup group =
        tpm::open_or_create_group(connection, policy_.group(name), options_.state,
                                  {.ask_pin = ask_pin, .late_copy = is_encrypted(options_.state)});
    if (pin) pins_.insert_or_assign(name, std::move(*pin));
    at = opened_
             .emplace(name, GroupMaterial{.sealed = std::move(group.sealed),
                                          .secret = std::move(group.secret)})
             .first;
  }
  return {.sealed = at->second.sealed, .secret = at->second.secret.clone()};
}

AuditPlace audit_log_of(const Options& options) {
  AuditPlace place{.log = options.state / "audit.log", .rules = {}};
  // Beside each other in /run, for states of their own.
  place.rules.gap =
      fmt::format("/run/volseal/audit.gap.{}", sha256_hex(place.log.native()).substr(0, 16));
  try {
    const Policy policy = load_policy(options.policy);
    for (const Group& group : policy.groups)
      place.owners[group.name] = {.tenant = group.tenant, .environment = group.environment};
    const AuditPolicy& audit = policy.audit;
    place.rules.sync_always = audit.sync_always;
    place.rules.go_on_when_full = !audit.refuse_when_full;
    place.rules.rotate_at = audit.rotate;
    place.rules.checkpoint_every = static_cast<std::uint64_t>(audit.checkpoint_events);
  } catch (const Error& error) {
    log::detail("the audit log is kept as by default: {}", error.what());
  }
  return place;
}

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

}  // namespace volseal
