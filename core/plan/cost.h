// What a task does, step by step, and what it costs.
#pragma once

#include "core/plan/plan.h"

#include <cstdint>
#include <optional>

namespace volseal {

// Fills bytes, estimate, risk and steps; the rest of `plan` is there.
void add_cost(VolumePlan& plan, const Device& device, const Policy& policy,
              const PlanOptions& options);

// One that names a keyslot: what a power cut left without one opens nothing.
bool has_token(const LuksHeader& header, std::string_view type);

// Of e2fsprogs: what can be shrunk.
bool is_ext(const Content& content);

// Whether shrinking to what is used, encrypting that, and growing again is worth it and safe.
bool spares_free_space(const Device& device, const Policy& policy);

// 4096 where the volume's size, its place and its file system's blocks allow it, else 512.
// `wanted`: the policy's; nothing: as large as possible.
std::uint32_t sector_size_for(const Device& device, Task task, std::optional<std::uint32_t> wanted);

}  // namespace volseal
