// Probes of many devices at once, in a process apart. A device that does not answer holds up
// nothing: its read cannot be interrupted, not even by SIGKILL, so the process that waits for it is
// left behind. A superblock that crashes a parser takes only that process with it.
#pragma once

#include "core/discover/probe.h"

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace volseal {

struct ProbeJob {
  Path node;
  std::string identity;  // tells the device from others that have had its name
  ProbeOptions options;
  // It did not answer when it was asked before: the others do not wait for it as long again.
  bool slow = false;
};

// One Probe a job, in their order. A device that has not answered within `patience` of its turn (a
// fifth of it, if it is slow) is unreadable, and so is one of which an earlier call still waits.
// Jobs whose node is no block device are done here. Up to 16 devices are read at once; `before` is
// called once in each process that does. Throws Error{io} where no process can be started.
std::vector<Probe> probe_all(const std::vector<ProbeJob>& jobs, std::chrono::milliseconds patience,
                             const std::function<void()>& before = {});

// The same with another probe than probe(), for tests of what goes wrong.
using ProbeFunction = std::function<Probe(const ProbeJob&)>;
std::vector<Probe> probe_apart(const std::vector<ProbeJob>& jobs,
                               std::chrono::milliseconds patience, const ProbeFunction& function);

// A probe as a message from one process to the other, and back. Throws Error{bad_graph}.
std::string to_message(const Probe& probe);
Probe from_message(std::string_view text);

}  // namespace volseal
