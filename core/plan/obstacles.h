// Why a volume cannot be encrypted now. All reasons are collected, so that one round of work by the
// person clears them.
#pragma once

#include "core/plan/plan.h"

#include <optional>
#include <string>
#include <vector>

namespace volseal {

// Of the device, whatever is on it: read-only, mounted, claimed, too small, two paths to one disk.
// `task`: encrypt_in_place, format or encrypt_swap. What `options.unmount` takes away is left out.
std::vector<Obstacle> device_obstacles(const DeviceGraph& graph, DeviceIndex at, Task task,
                                       const PlanOptions& options);

// Of a LUKS volume that lacks protectors.
std::vector<Obstacle> adoption_obstacles(const DeviceGraph& graph, DeviceIndex at);

// Where an encryption in place would get its room; nothing: nowhere.
std::optional<Room> room_for(const Device& device);
Obstacle no_room_obstacle(const Device& device);

// Of content that is neither a file system of known size nor swap nor blank.
Obstacle content_obstacle(const Device& device);

// The rule would mount a new file system where another one belongs.
std::vector<Obstacle> mount_obstacles(const DeviceGraph& graph, DeviceIndex at,
                                      const std::string& mount);

}  // namespace volseal
