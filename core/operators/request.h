// What a member of a group's Unix group may ask root's service for, and whether it is theirs. Pure.
#pragma once

#include "core/policy/policy.h"

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace volseal {

// One line, "volseal-operator/1 unlock VOLUME\n". VOLUME: a LUKS UUID, or a name below /dev; it is
// looked up among the devices that root knows, and never opened as a path.
struct OperatorRequest {
  static constexpr std::size_t max_text = 512;

  std::string volume;
};

// Nothing for anything else: other verbs, other characters, something left over.
std::optional<OperatorRequest> parse_operator_request(std::string_view text);
std::string to_text(const OperatorRequest& request);

// The groups whose `operators` is among these Unix groups.
std::set<std::string> groups_operated_by(const Policy& policy,
                                         const std::set<std::string>& unix_groups);

struct PermittedVolume {
  DeviceIndex device = 0;
  std::string group;
};
// The volume of that name, where a rule puts it into one of `groups`, and it is enrolled in this
// one and in no other. Nothing for all else alike: what is not there, what is others', what two
// devices claim to be.
std::optional<PermittedVolume> permitted_volume(const DeviceGraph& graph, const Policy& policy,
                                                const std::set<std::string>& groups,
                                                std::string_view volume);

}  // namespace volseal
