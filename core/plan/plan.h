// Graph and policy → Plan: what would be done to each volume, in which order, and why. Pure: it
// reads nothing and touches nothing; core/enroll carries it out.
#pragma once

#include "core/device/device.h"
#include "core/policy/policy.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

enum class Task {
  nothing,           // already right
  encrypt_in_place,  // by re-encryption: the data stays
  resume,            // a re-encryption that was cut off goes on
  format,            // blank: LUKS2, then the policy's file system
  encrypt_swap,      // swap area: LUKS2 with swap in it, same UUID and label
  adopt,             // LUKS2 that lacks protectors: they are added, and what is there stays
  convert,           // LUKS1: to LUKS2, then as adopt; its data is not touched
  leave,             // the policy exempts it
  forbid,            // the policy wants it away; not touched
  refuse,            // must be encrypted, and cannot be: the obstacles say why
};

// Where an encryption in place gets the 32 MiB from that its header and its moving take.
enum class Room {
  shrink,  // the file system gives them up: ext2, ext3, ext4
  tail,    // the file system ends that far before its device
  extend,  // the logical volume gets them from its volume group
};

// Why a volume cannot be done now.
struct Obstacle {
  std::string what;         // "it is mounted at /srv/data"; both safe to print
  std::string advice;       // "umount /srv/data, or run volseal enroll --unmount"
  bool by_unmount = false;  // `enroll --unmount` takes it away
};

struct VolumePlan {
  Task task = Task::nothing;
  std::string path;     // as Device::path
  std::string name;     // as Device::name
  std::string mapping;  // name under /dev/mapper
  std::string group;
  std::string owner;                // "Tenant A/production", safe to print; "" for nobody's
  std::string rule;                 // the rule that decided; "" for the default
  std::string why;                  // one sentence, safe to print
  std::vector<Obstacle> obstacles;  // refuse: all of them; others: none
  // What the volume was when the plan was made; enroll refuses when it differs.
  std::uint64_t size = 0;  // bytes
  ContentKind content = ContentKind::unknown;
  std::string content_type;
  std::string content_uuid;
  std::string content_label;
  std::uint64_t content_size = 0;  // bytes that the file system spans; 0: not known
  std::string luks_uuid;           // nothing, resume
  std::uint64_t diskseq = 0;
  // What it gets.
  std::string cipher;
  int key_bits = 0;
  std::uint32_t sector_size = 0;
  std::string crypttab_options;     // of its line in crypttab, where it gets one
  Room room = Room::shrink;         // encrypt_in_place
  bool used_only = false;           // encrypt_in_place: free space is zeroed, not encrypted
  std::string filesystem;           // format: "ext4", "none"
  std::string mount;                // format: mount point for fstab, "" for none
  std::vector<std::string> mounts;  // where it is mounted now
  bool online = false;              // encrypt_in_place: it is in use while its data is encrypted
  bool swap_active = false;
  std::vector<std::string> recovery;  // kinds
  // What it costs.
  std::uint64_t bytes = 0;  // to read and write
  std::chrono::seconds estimate{0};
  std::chrono::seconds out_of_use{0};  // of the estimate; online: until it is mounted again
  std::string risk;  // "none", "the data is rewritten in place", "what is on it is lost: nothing"
  std::vector<std::string> steps;  // one line each, in order
};

struct Plan {
  std::string host;
  std::string made_at;  // RFC 3339, UTC
  std::string policy;   // its source
  std::string policy_digest;
  std::vector<VolumePlan> volumes;

  bool has_work() const;       // something to encrypt, resume or format
  bool has_obstacles() const;  // something that must be encrypted cannot be
};

struct PlanOptions {
  std::string today;                // "YYYY-MM-DD"
  std::vector<std::string> only;    // paths; empty: every volume
  bool unmount = false;             // obstacles that enroll --unmount takes away are none
  bool offline = false;             // nothing is encrypted while it is in use
  double bytes_per_second = 200e6;  // of reading and writing in turn, for the estimates
  // What the machine and this program need to run: a file system that holds one of these is never
  // unmounted.
  std::vector<std::string> needed = {"/boot", "/dev", "/etc", "/proc",
                                     "/run",  "/sys", "/usr", "/var/lib/volseal"};
};

// Volumes are what holds or can hold data at the top of each stack: see volumes_of in
// core/coverage. Throws Error{not_found} where `only` names no device, Error{usage} where it names
// one that is no volume.
Plan make_plan(const DeviceGraph& graph, const Policy& policy, const PlanOptions& options);

// The volume as it is now still is what the plan was made for; else one sentence saying what
// changed.
std::string what_changed(const VolumePlan& planned, const DeviceGraph& now);

// What is to be done first, then what is in the way, then what stays as it is.
std::string to_text(const Plan& plan, std::size_t columns);
std::string to_json(const Plan& plan, int indent = 1);  // "schema": "volseal-plan/1"

// There is something to carry out.
bool is_work(Task task);

std::string_view to_string(Task task);
std::string_view to_string(Room room);

}  // namespace volseal
