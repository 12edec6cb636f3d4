// policy.toml → Policy. Deny, then allow: rules are read from the top, the first that matches
// decides, and what no rule matches must be encrypted.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

enum class Action {
  encrypt,  // in place, or by formatting where it is blank
  leave,    // exempt: with a reason, and perhaps until a date
  forbid,   // must not be attached at all; reported, never touched
};

// Every condition that is set must hold. Globs as fnmatch(3) without FNM_PATHNAME. Path, mount,
// file system and label hold for the volume or for what is opened from it. Bus, removable and
// rotational are those of the disks below: every one of them, or, for a rule that forbids, any one.
struct Match {
  std::optional<std::string> path;   // any of the device's names: /dev/sda1, /dev/disk/by-id/...
  std::optional<std::string> mount;  // any mount point, now or in fstab
  // "ext4", "swap", "vfat", "crypto_LUKS" ... as libblkid names it; "blank"
  std::optional<std::string> filesystem;
  std::optional<std::string> label;           // file system or partition label
  std::optional<std::string> partition_type;  // GUID or hexadecimal MBR type, case ignored
  std::optional<std::string> bus;
  std::optional<bool> removable;
  std::optional<bool> rotational;
  std::optional<std::string> vg;              // the volume group that the volume belongs to
  std::optional<std::string> lv;              // its name in there
  std::optional<std::string> md_level;        // of an array below it: "raid1" ...
  std::optional<std::uint64_t> smaller_than;  // bytes
  std::optional<std::uint64_t> larger_than;   // bytes
};

// Whether dm-crypt works on requests where they arrive instead of queueing them.
enum class Workqueue {
  automatic,  // without queues for NVMe, with them for all else
  on,         // with: what dm-crypt does when nothing is said
  off,        // without
};

struct Rule {
  std::string name;
  Match match;
  Action action = Action::encrypt;
  std::string group = "default";
  std::string reason;                     // leave, forbid: required
  std::string until;                      // leave: "YYYY-MM-DD", the last day; empty: for ever
  std::optional<std::string> filesystem;  // blank volumes: "ext4" or "none"
  std::optional<std::string> mount;       // blank volumes: where fstab mounts it
  std::optional<std::string> mapping;  // name under /dev/mapper; else made from the device's name
  // Where it differs from the policy. A rule has both of cipher and key_bits, or none.
  std::optional<std::string> cipher;
  std::optional<int> key_bits;
  std::optional<std::uint32_t> sector_size;  // 0: as large as possible, whatever the policy says
  std::optional<bool> discard;
  std::optional<Workqueue> workqueue;
  int line = 0;
};

// What the watch does about a device that came or changed.
enum class Response {
  allow,        // nothing: with a reason, and perhaps until a date
  notify,       // tells
  quarantine,   // read-only, and claimed so that nobody else can mount or map it
  deauthorize,  // USB: the kernel lets go of the device; others are put in quarantine
  enroll,       // blank ones only: as the policy's rules say
  unlock,       // those only that are enrolled here
};

struct WatchRule {
  std::string name;
  Match match;
  Response response = Response::notify;
  std::string reason;  // allow: required
  std::string until;   // allow: "YYYY-MM-DD", the last day; empty: for ever
  int line = 0;
};

struct WatchPolicy {
  // What becomes of an unencrypted device that no rule speaks of. A policy without [watch] only
  // tells; with it, deny is the last word.
  Response otherwise = Response::notify;
  bool first_moment = false;         // hold every new disk until it is decided (docs/watch.md)
  std::vector<std::string> command;  // gets findings on its standard input
  int timeout = 30;                  // of the command, seconds
  Path metrics;                      // OpenMetrics; empty: none
  std::vector<WatchRule> rules;
};

struct AuditPolicy {
  bool sync_always = true;            // else only with a checkpoint
  bool refuse_when_full = true;       // what cannot be recorded is not done
  std::uint64_t rotate = 64U << 20U;  // bytes of a file; 0: one file for ever
  int checkpoint_events = 1000;       // a checkpoint so often; 0: only hourly and at shutdown
  bool tpm = true;                    // the newest checkpoint is in the TPM, where there is one
  std::vector<std::string> anchor;    // gets checkpoints on its standard input
  int timeout = 30;                   // of the command, seconds
};

struct TpmProtection {
  bool enabled = true;
  std::string bank = "sha256";
  std::vector<int> pcrs = {7};
  int latch = 15;
  bool allow_unmeasured = false;
};

// Who gets a group's recovery keys, and where they are kept.
struct EscrowPolicy {
  std::vector<Path> certificates;    // 1 to 16
  int threshold = 1;                 // how many of their holders open it together
  Path directory;                    // this,
  std::vector<std::string> command;  // or this: the program and its arguments
  int timeout = 30;                  // of the command, seconds
  bool show = false;                 // a person gets a copy, too
};

struct Group {
  std::string name;
  std::string tenant;
  std::string environment;
  std::string operators;  // the Unix group that sees and opens it; empty: root alone
  TpmProtection tpm;
  std::vector<std::string> recovery = {"recovery-key"};  // kinds, also "fido2+passphrase" ...
  // What each way in that a person has a part in must take at least: core/coverage/ways.h counts.
  int factors = 1;
  // How old the last drill of each of those may be; 0: any age.
  int drill_days = 0;
  std::optional<EscrowPolicy> escrow;
};

enum class BlankCheck { sampled, full };

// What becomes of a file system's free space when it is encrypted in place.
enum class FreeSpace {
  zero,     // zeroed where that is quicker: shows how much was in use that day
  encrypt,  // as all the rest
};

struct Policy {
  std::string source;  // the file's name, or "built-in"
  std::string digest;  // SHA-256 of its text, hexadecimal
  // Volumes
  std::string cipher = "aes-xts-plain64";
  int key_bits = 512;
  std::optional<std::uint32_t> sector_size;  // nothing: 4096 where device and file system allow
  BlankCheck blank_check = BlankCheck::sampled;
  FreeSpace free_space = FreeSpace::zero;
  std::string blank_filesystem = "ext4";  // what a blank volume gets: "ext4" or "none"
  std::string crypttab_options = "luks";
  bool discard = false;
  Workqueue workqueue = Workqueue::automatic;
  std::string header_backups = "/var/lib/volseal/headers";
  std::vector<Group> groups;  // never empty: "default" is always there
  std::vector<Rule> rules;
  WatchPolicy watch;
  AuditPolicy audit;

  const Group& group(const std::string& name) const;  // throws Error{bad_policy}
};

// Throws Error{bad_policy}, "FILE:LINE: what is wrong": syntax, unknown keys, wrong types, values
// out of range, rules that name no group. At most 1 MiB of text, 1000 rules.
Policy parse_policy(std::string_view text, std::string_view source);
// The file; the built-in default where `path` does not exist and is the default place.
Policy load_policy(const Path& path);
// What is installed as /etc/volseal/policy.toml, comments and all.
std::string_view default_policy_text();

// The rule that decides, nothing when none matches (then: encrypt, group "default").
const Rule* deciding_rule(const Policy& policy, const DeviceGraph& graph, DeviceIndex at);

// The rule of [watch] that decides, nothing when none matches. One that has run out no longer does.
// What rests only on disks that a rule allows is allowed by it.
const WatchRule* deciding_watch_rule(const Policy& policy, const DeviceGraph& graph, DeviceIndex at,
                                     std::string_view today);

// Where its file system, or that of what is opened from it, is mounted or would be by fstab. An
// fstab line counts only where this volume alone answers to it and nothing else is mounted there,
// so that a stick with the UUID of /boot does not become /boot.
std::vector<std::string> mount_points(const DeviceGraph& graph, DeviceIndex at);

// `today`: "YYYY-MM-DD". A rule that has run out no longer exempts.
bool expired(const Rule& rule, std::string_view today);
bool expired(const WatchRule& rule, std::string_view today);

std::string_view to_string(Response response);

// Whose it is, wherever something of a group is told: so that nobody takes one tenant's volume for
// another's, or production for a test. Both are escaped.
// "Tenant A/production"; "Tenant A", "production", or "" where there is no more.
std::string owner_words(std::string_view tenant, std::string_view environment);
// "Tenant A/production group tenant-a", "group default"
std::string group_words(const Group& group);

}  // namespace volseal
