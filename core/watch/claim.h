// Claim: a device is read-only, and nobody else can mount it, map it or format it.
//
// Either half alone leaks: BLKROSET lets device-mapper write, and who holds it exclusively does not
// stop a plain write(2).
#pragma once

#include "core/base/file.h"
#include "core/base/handle.h"

#include <cstdint>
#include <string>
#include <vector>

namespace volseal {

// A device as no other of the same name is.
struct DeviceId {
  std::string name;           // the kernel's
  std::uint64_t diskseq = 0;  // of its disk; 0: this kernel has none

  auto operator<=>(const DeviceId&) const = default;
};

// "sdb.42": the name of its records.
std::string to_string(const DeviceId& id);

struct ClaimJob {
  DeviceId id;
  Path node;
  std::vector<Path> parts;  // nodes of its partitions
};

struct Claimed {
  UniqueFd fd;          // as long as this is open, so is the claim
  bool done = false;    // the device has answered
  bool in_use = false;  // somebody else has it
  std::string problem;  // "" where it is held
};

// The claim first: what somebody else has, such as a pool of ZFS or a virtual machine, is not made
// read-only under its feet. Follows no link, and touches nothing when the node is another device by
// now.
Claimed claim(const ClaimJob& job);

// The opposite of BLKROSET, for the device and its partitions. "", or why not.
std::string make_writable(const ClaimJob& job);

// The kernel looks for partitions once more. Nothing happens where any is in use.
void read_partitions_again(const ClaimJob& job);

// Somebody has made it writable by hand.
bool is_writable(int fd);

}  // namespace volseal
