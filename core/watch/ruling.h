// Ruling: what the policy wants done about one volume. Pure.
#pragma once

#include "core/watch/ledger.h"

#include <string>
#include <string_view>

namespace volseal {

struct Ruling {
  Response response = Response::allow;
  std::string rule;    // the watch rule's name; "" where none matches
  std::string reason;  // one sentence
};

// Deny is the last word where the policy has a [watch]: what is neither encrypted nor exempt and
// matches no rule gets `otherwise`.
Ruling decide(const Policy& policy, const DeviceGraph& graph, const VolumeVerdict& volume,
              std::string_view today);

// Mounted, swapped to, or part of something: taking it away would lose data.
bool is_used(const DeviceGraph& graph, DeviceIndex at);

// What is to be kept from everybody, and why.
struct Custody {
  DeviceIndex device = 0;
  bool in_use = false;  // it ought to be, and cannot
  Ruling decision;      // of the first of its volumes
};

// A disk is taken as a whole where all that rests on it is to be taken and none of it is used;
// else each volume by itself. `decisions`: one a volume, in their order.
std::vector<Custody> custodies(const Sighting& seen, const std::vector<Ruling>& decisions);

}  // namespace volseal
